use super::*;

const MILLI: Duration = Duration::from_millis(1);

fn plugin(name: &str) -> Namespace {
    Namespace::new(name).expect("a name")
}

/// Jobs that compute for so many milliseconds, named by their plugin.
struct Load {
    turns: Turns<usize>,
    jobs: Vec<(Place, &'static str, u32)>,
    now: Instant,
}

impl Load {
    fn new() -> Self {
        Self {
            turns: Turns::default(),
            jobs: Vec::new(),
            now: Instant::now(),
        }
    }

    fn add(&mut self, name: &'static str, millis: u32) -> usize {
        self.add_usual(name, millis, 0)
    }

    /// Of a method whose calls usually take so many.
    fn add_usual(&mut self, name: &'static str, millis: u32, usual: u32) -> usize {
        let place = self.turns.place(&plugin(name), usual * MILLI);
        self.jobs.push((place, name, millis));
        self.turns.wait(place, self.jobs.len() - 1);
        self.jobs.len() - 1
    }

    /// One turn of one millisecond; says of which job, and whether it ended.
    fn turn(&mut self) -> Option<(usize, bool)> {
        let job = self.turns.next(self.now)?;
        self.now += MILLI;
        let (place, _, left) = &mut self.jobs[job];
        self.turns.used(place, MILLI);
        *left -= 1;
        if *left > 0 {
            self.turns.wait(*place, job);
        }
        Some((job, *left == 0))
    }

    /// The jobs in the order in which they end.
    fn order(&mut self) -> Vec<usize> {
        let turns = std::iter::from_fn(|| self.turn());
        turns.filter(|(_, ended)| *ended).map(|(job, _)| job).collect()
    }

    /// How many of so many turns each of the plugins has.
    fn shares<const N: usize>(&mut self, turns: usize, names: [&str; N]) -> [usize; N] {
        let mut shares = [0; N];
        for _ in 0..turns {
            let (job, _) = self.turn().expect("a job");
            let plugin = names.iter().position(|name| *name == self.jobs[job].1);
            shares[plugin.expect("a name")] += 1;
        }
        shares
    }
}

#[test]
fn calls_of_one_kind_run_one_after_the_other() {
    let mut load = Load::new();
    for usual in [3, 30, 300] {
        let jobs: Vec<_> = (0..20).map(|_| load.add_usual("a", usual, usual)).collect();
        assert_eq!(load.order(), jobs);
    }
}

#[test]
fn short_calls_pass_long_ones_which_get_their_part_all_the_same() {
    let mut load = Load::new();
    let long = load.add("a", 1_000_000);
    for _ in 0..200 {
        load.turn();
    }
    let short = load.add("a", 3);
    let before_its_end = std::iter::from_fn(|| load.turn())
        .take_while(|turn| *turn != (short, true))
        .count();
    assert!(before_its_end <= 3, "{before_its_end} turns");
    let mut of_long = 0;
    for _ in 0..1000 {
        load.add("a", 1);
        let (job, _) = load.turn().expect("a job");
        of_long += usize::from(job == long);
    }
    assert!((50..=70).contains(&of_long), "about one in 17: {of_long}");
}

#[test]
fn plugins_have_even_shares_however_many_calls_they_have() {
    let mut load = Load::new();
    for _ in 0..100 {
        load.add("flood", 1000);
    }
    load.add("a", 1000);
    load.add("b", 1000);
    let shares = load.shares(900, ["flood", "a", "b"]);
    assert!(
        shares.iter().all(|share| (298..=302).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn a_plugin_that_was_away_has_saved_up_nothing() {
    let mut load = Load::new();
    load.add("a", 1000);
    load.add("b", 1);
    load.shares(500, ["a", "b"]);
    load.add("b", 1000);
    let [a, b] = load.shares(100, ["a", "b"]);
    assert!((48..=52).contains(&a), "{a} and {b}");
}

#[test]
fn a_plugin_that_takes_long_turns_has_fewer_of_them() {
    let mut load = Load::new();
    let (a, b) = (load.add("a", 1), load.add("b", 1));
    let mut used = [Duration::ZERO; 2];
    for _ in 0..1000 {
        let job = load.turns.next(load.now).expect("a job");
        let time = if job == a { 7 * MILLI } else { MILLI / 2 };
        used[usize::from(job == b)] += time;
        let place = &mut load.jobs[job].0;
        load.turns.used(place, time);
        load.turns.wait(*place, job);
    }
    assert!(used[0].abs_diff(used[1]) < 10 * MILLI, "{used:?}");
}

#[test]
fn who_leaves_is_not_served() {
    let mut load = Load::new();
    let (first, second) = (load.add("a", 1), load.add("a", 1));
    assert_eq!(load.turns.leave(load.jobs[first].0), Some(first));
    assert_eq!(load.turns.leave(load.jobs[first].0), None);
    assert_eq!(load.order(), [second]);
}

#[test]
fn the_wait_is_told_from_how_fast_others_have_their_turn() {
    let mut load = Load::new();
    for _ in 0..100 {
        load.add("a", 3);
    }
    assert_eq!(
        load.turns.expected_wait(&plugin("a"), MILLI),
        Some(Duration::ZERO),
        "nothing is known"
    );
    for _ in 0..150 {
        load.turn();
    }
    assert_eq!(
        load.turns.expected_wait(&plugin("a"), MILLI),
        Some(51 * 3 * MILLI)
    );
    assert_eq!(load.turns.expected_wait(&plugin("b"), MILLI), None);
    load.order();
    assert_eq!(
        load.turns.expected_wait(&plugin("a"), MILLI),
        None,
        "nobody waits"
    );
}
