//! What holds of the read model after any run of commands, and after any accident.

mod accidents;
mod wishes;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use tagtrail_projection::Opened;

use wishes::{Wish, any_wish};
use world::{Live, rebuilt};

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    vec(any_wish(), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// After each command the rows say what the log means: streams, histories, images, requests, and what is to be done.
    #[test]
    fn the_view_is_the_model(wishes in wishes()) {
        let mut live = Live::new();
        for wish in wishes {
            live.round(&[wish]);
            live.check();
        }
    }

    /// Commands that share a batch leave the same rows as commands that do not. So does catching up, in any steps.
    #[test]
    fn a_batch_is_its_commands(wishes in wishes(), batch in 1..12_usize, stop in 0.0..1.0_f64) {
        let (mut one_by_one, mut batches) = (Live::new(), Live::new());
        for wish in &wishes {
            one_by_one.round(std::slice::from_ref(wish));
        }
        for batch in wishes.chunks(batch) {
            batches.round(batch);
            batches.check();
        }
        prop_assert_eq!(one_by_one.events(), batches.events());
        prop_assert_eq!(one_by_one.compare(&batches.view), Vec::<String>::new());

        let until = (batches.head() as f64 * stop) as u64;
        let beside = rebuilt(&batches.log, until);
        prop_assert!(beside.view.position() <= batches.head());
        beside.catch_up(&batches.log);
        prop_assert_eq!(batches.compare(&beside.view), Vec::<String>::new());
    }

    /// Between the commit point and the rows there may be a kill: the next start catches up.
    #[test]
    fn what_the_log_has_and_the_rows_have_not_is_caught_up(before in wishes(), lost in wishes(), after in wishes()) {
        let mut live = Live::new();
        live.round(&before);
        let position = live.view.position();
        live.round_without_commit(&lost);
        prop_assert_eq!(live.reopen(), Opened::Kept(position));
        live.catch_up();
        live.check();
        live.round(&after);
        live.check();
        let head = live.head();
        prop_assert_eq!(live.compare(&rebuilt(&live.log, head).view), Vec::<String>::new());
        // What was decoded once and kept in memory is what the rows say.
        prop_assert_eq!(live.reopen(), Opened::Kept(head));
        live.check();
    }
}
