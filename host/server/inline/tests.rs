use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{Mutex, MutexGuard, oneshot};

use super::*;

/// The idle workers of a process are counted together: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn with_idle_workers(number: usize) -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().await;
    IDLE_WORKERS.store(number, Ordering::Relaxed);
    alone
}

/// A socket without an end, which has one thing to read.
#[derive(Default)]
struct Socket {
    read: bool,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::replace(&mut self.read, true) {
            return Poll::Pending;
        }
        buffer.put_slice(b"calls");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A call that tells when it has ended.
fn call(
    work: impl Future<Output = ()> + Send + 'static,
) -> (Arc<AtomicBool>, impl Future<Output = ()> + Send + 'static) {
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    let call = async move {
        work.await;
        end.store(true, Ordering::Relaxed);
    };
    (ended, call)
}

fn has(ended: &AtomicBool) -> bool {
    ended.load(Ordering::Relaxed)
}

async fn until(ended: &AtomicBool) {
    while !has(ended) {
        tokio::task::yield_now().await;
    }
}

/// A connection that reads what there is, has `serve` called with it, writes so many answers and ends.
async fn serve_one(socket: Socket, answers: usize, serve: impl FnOnce(InlineExecutor)) {
    let mut io = BatchedIo(socket);
    let mut serve = Some(serve);
    let mut left = answers;
    Batched::new(std::future::poll_fn(move |cx| {
        let mut space = [0; 16];
        while let Poll::Ready(read) = Pin::new(&mut io).poll_read(cx, &mut ReadBuf::new(&mut space)) {
            read.expect("a read");
            serve.take().expect("nothing more was sent")(InlineExecutor);
        }
        while left > 0 {
            std::task::ready!(Pin::new(&mut io).poll_write(cx, b"answer")).expect("a write");
            left -= 1;
        }
        Poll::Ready(())
    }))
    .await;
}

#[tokio::test]
async fn a_call_is_served_where_it_was_read_if_no_worker_is_idle() {
    let _alone = with_idle_workers(0).await;
    let (ended, call) = call(async {});
    serve_one(Socket::default(), 1, |executor| {
        executor.execute(call);
        assert!(has(&ended));
    })
    .await;
}

#[tokio::test]
async fn a_call_has_a_task_if_a_worker_is_idle() {
    let _alone = with_idle_workers(1).await;
    let (ended, call) = call(async {});
    serve_one(Socket::default(), 1, |executor| {
        executor.execute(call);
        assert!(!has(&ended));
    })
    .await;
    until(&ended).await;
}

#[tokio::test]
async fn answers_are_held_back_until_the_batch_was_read() {
    let _alone = with_idle_workers(0).await;
    let socket = Socket::default();
    let writes = socket.writes.clone();
    serve_one(socket, 2, |executor| {
        for _ in 0..2 {
            executor.execute(async {});
            let mut io = BatchedIo(Socket::default());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut io).poll_write(&mut cx, b"answer").is_pending());
        }
        assert_eq!(writes.load(Ordering::Relaxed), 0);
    })
    .await;
    assert_eq!(writes.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_call_that_waits_ends_in_a_task() {
    let _alone = with_idle_workers(0).await;
    let (go, wait) = oneshot::channel::<()>();
    let (ended, call) = call(async { wait.await.expect("it is told") });
    serve_one(Socket::default(), 0, |executor| {
        executor.execute(call);
    })
    .await;
    assert!(!has(&ended));
    go.send(()).expect("it waits");
    until(&ended).await;
}

#[tokio::test]
async fn a_call_that_leaves_goes_on_in_a_task() {
    let _alone = with_idle_workers(0).await;
    let (ended, call) = call(leave());
    serve_one(Socket::default(), 1, |executor| {
        executor.execute(call);
        assert!(!has(&ended));
    })
    .await;
    until(&ended).await;
}

#[tokio::test]
async fn a_call_that_panics_ends_alone() {
    let _alone = with_idle_workers(0).await;
    let (ended, call) = call(async {});
    serve_one(Socket::default(), 1, |executor| {
        executor.execute(async { panic!("a call of this test") });
        executor.execute(call);
    })
    .await;
    // Writing the backtrace can take longer than a batch may.
    until(&ended).await;
}

#[tokio::test]
async fn outside_of_a_batch_nothing_is_put_off() {
    let _alone = with_idle_workers(0).await;
    leave().await;
    let (ended, call) = call(async {});
    InlineExecutor.execute(call);
    assert!(!has(&ended));
    let mut io = BatchedIo(Socket::default());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut io).poll_write(&mut cx, b"answer").is_ready());
}

#[test]
fn idle_workers_are_counted_until_their_runtime_ends() {
    let _alone = ALONE.blocking_lock();
    IDLE_WORKERS.store(0, Ordering::Relaxed);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    count_idle_workers(builder.worker_threads(2));
    let runtime = builder.build().expect("threads");
    while IDLE_WORKERS.load(Ordering::Relaxed) < 2 {
        std::thread::yield_now();
    }
    drop(runtime);
    assert_eq!(IDLE_WORKERS.load(Ordering::Relaxed), 0);
}
