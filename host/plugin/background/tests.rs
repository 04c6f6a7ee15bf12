use std::sync::mpsc;

use thread_priority::unix::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::Instant;

use super::*;

/// Calls of one method of a plugin, and one thread for those that compute for long.
struct Method {
    background: Background,
    plugin: Namespace,
    habit: Habit,
}

impl Method {
    fn new() -> Arc<Self> {
        Self::with(Background::idle(1))
    }

    fn with(background: std::io::Result<Background>) -> Arc<Self> {
        Arc::new(Self {
            background: background.expect("threads"),
            plugin: Namespace::new("plugin").expect("a name"),
            habit: Habit::default(),
        })
    }

    async fn run<F>(
        &self,
        time: Option<Duration>,
        work: impl FnOnce(Slices) -> F,
    ) -> Result<F::Output, NotRun>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let slices = Slices::default();
        let task = Task {
            plugin: &self.plugin,
            habit: &self.habit,
            slices: &slices,
            deadline: Deadline::after(Instant::now(), time),
        };
        self.background.run(task, Box::pin(work(slices.clone()))).await
    }

    /// Makes all further calls begin in the background.
    async fn turn_heavy(&self) {
        while !self.habit.is_heavy() {
            let ran = self.run(None, |slices| async move { compute(&slices).await });
            ran.await.expect("an end");
        }
    }

    /// A call that holds the one thread from when this returns until it is released.
    async fn hold(self: &Arc<Self>) -> Holder {
        let (release, released) = mpsc::channel();
        let (began, begun) = oneshot::channel();
        let (send, next_turn) = mpsc::channel();
        let method = self.clone();
        let call = tokio::spawn(async move {
            let work = async move {
                let _ = began.send(());
                let _ = released.recv();
                yield_now().await;
                let _ = send.send(());
            };
            method.run(None, |_| work).await
        });
        begun.await.expect("its turn");
        Holder {
            call,
            release,
            next_turn,
        }
    }
}

struct Holder {
    call: JoinHandle<Result<(), NotRun>>,
    release: mpsc::Sender<()>,
    /// Told of the turn after that in which it is held; closed when it is dropped.
    next_turn: mpsc::Receiver<()>,
}

/// Uses up its slices, as a guest does that computes on over so many ticks.
async fn compute(slices: &Slices) {
    for _ in 0..SLICES {
        slices.used_one();
        yield_now().await;
    }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test]
async fn short_work_stays_on_its_thread() {
    let here = std::thread::current().id();
    let ran = Method::new()
        .run(None, |_| async {
            yield_now().await;
            std::thread::current().id()
        })
        .await;
    assert_eq!(ran, Ok(here));
}

#[tokio::test]
async fn long_work_moves_to_a_thread_of_lower_priority() {
    let ran = Method::new()
        .run(None, |slices| async move {
            compute(&slices).await;
            thread_schedule_policy().expect("this thread has a policy")
        })
        .await;
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    assert_eq!(ran, Ok(idle));
}

#[tokio::test]
async fn methods_that_are_heavy_begin_in_the_background_until_they_are_light() {
    let here = std::thread::current().id();
    let method = Method::new();
    let call = async |heavy: bool| {
        let began = method.run(None, |slices| async move {
            let began = std::thread::current().id();
            if heavy {
                compute(&slices).await;
            }
            began
        });
        began.await.expect("an end") == here
    };
    assert!(call(false).await);
    assert!(call(true).await && call(true).await);
    assert!(!call(true).await && !call(true).await);
    let mut light = 0;
    while !call(false).await {
        light += 1;
        assert!(light < 10);
    }
    assert!(light > 1);
}

#[tokio::test]
async fn methods_are_brief_after_a_few_calls_that_were() {
    let method = Method::new();
    let call = async |time: Duration| {
        let ran = method.run(None, |slices| async move { slices.used(time) });
        ran.await.expect("an end");
        method.habit.is_brief()
    };
    let (brief, long) = (Duration::from_micros(20), Duration::from_millis(1));
    assert!(!method.habit.is_brief() && !call(brief).await);
    let mut calls = 1;
    while !call(brief).await {
        calls += 1;
        assert!(calls < 10);
    }
    while calls < 10 {
        assert!(call(brief).await);
        calls += 1;
    }
    // One may have lost its processor, two have not.
    assert!(call(long).await);
    assert!(!call(long).await);
}

#[tokio::test]
async fn what_waits_for_something_else_goes_on_when_it_has_it() {
    let method = Method::new();
    method.turn_heavy().await;
    let (send, receive) = oneshot::channel();
    let waiting = method.run(None, |_| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        receive.await
    });
    let (answer, _) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        send.send("answer")
    });
    assert_eq!(answer, Ok(Ok("answer")));
}

#[tokio::test]
async fn a_panic_ends_one_call_and_not_the_thread() {
    let method = Method::new();
    method.turn_heavy().await;
    let panicked = method.run(None, |_| async { panic!("in the background") });
    assert_eq!(panicked.await, Err::<(), _>(NotRun::Gone));
    assert_eq!(method.run(None, |_| async { 1 }).await, Ok(1));
}

#[tokio::test]
async fn work_ends_with_its_caller_also_while_others_hold_the_thread() {
    let method = Method::new();
    let alive = Arc::new(());
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (method, alive) = (method.clone(), alive.clone());
            tokio::spawn(async move {
                let endless = |slices: Slices| async move {
                    loop {
                        compute(&slices).await;
                        assert!(Arc::strong_count(&alive) > 0);
                    }
                };
                method.run(None, endless).await
            })
        })
        .collect();
    until("all of them run", || Arc::strong_count(&alive) == 101).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    for caller in &callers {
        caller.abort();
    }
    until("all of them are gone", || Arc::strong_count(&alive) == 1).await;
}

#[tokio::test]
async fn work_that_runs_when_its_caller_leaves_has_no_further_turn() {
    let method = Method::new();
    method.turn_heavy().await;
    let holder = method.hold().await;
    holder.call.abort();
    assert!(holder.call.await.expect_err("it was aborted").is_cancelled());
    holder.release.send(()).expect("it is held");
    let next_turn = tokio::task::spawn_blocking(move || holder.next_turn.recv());
    assert!(next_turn.await.expect("no panic").is_err());
}

#[tokio::test]
async fn work_is_not_begun_that_would_come_too_late() {
    const TIME: Duration = Duration::from_secs(3600);
    let method = Method::new();
    method.turn_heavy().await;
    // It counts for an eighth.
    method.habit.used(100 * TIME);
    // Nobody is before it.
    assert_eq!(method.run(Some(TIME), |_| async {}).await, Ok(()));
    method.turn_heavy().await;
    let holder = method.hold().await;
    let waiting = method.run(None, |_| async {});
    let late = method.run(Some(TIME), |_| async {});
    let in_time = method.run(Some(100 * TIME), |_| async {});
    let release = async { holder.release.send(()) };
    let (waited, late, in_time, _) = tokio::join!(biased; waiting, late, in_time, release);
    assert_eq!((waited, late, in_time), (Ok(()), Err(NotRun::TooLate), Ok(())));
    assert!(holder.call.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn what_computes_goes_on_without_the_idle_threads() {
    let ran = Method::with(Background::start(0))
        .run(None, |slices| async move {
            for _ in 0..5 {
                compute(&slices).await;
            }
            std::thread::current().name().map(str::to_owned)
        })
        .await;
    assert_eq!(ran, Ok(Some("mortise-background".into())));
}

#[tokio::test]
async fn what_computes_goes_on_beside_a_call_that_keeps_the_idle_thread() {
    let method = Method::with(Background::start(1));
    method.turn_heavy().await;
    // As if the thread had no processor.
    let holder = method.hold().await;
    let ran = method.run(None, |_| async { 7 }).await;
    assert_eq!(ran, Ok(7));
    drop(holder.release);
    holder.call.await.expect("no panic").expect("an end");
}
