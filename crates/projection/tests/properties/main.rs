//! What holds of the read model after any run of commands, and after any accident.

mod accidents;
mod wishes;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use tagtrail_domain::command::SetTag;
use tagtrail_domain::tag::SourceKind;
use tagtrail_projection::Opened;

use wishes::{Wish, any_wish, digest, set_tag, source, tag};
use world::{Live, rebuilt};

/// Mostly a world where something can happen: two tags with images, two that follow the one. Then anything.
fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let follow = |name, followed| {
        let source = source(SourceKind::ImageStreamTag, tag(followed).to_string());
        Wish::set_tag(0, SetTag { alias: true, ..set_tag(name, Some(source)) })
    };
    let opening = [Wish::import(0, 0, 0), Wish::import(0, 1, 1), follow(2, 0), follow(3, 2)];
    (prop::bool::weighted(0.8), vec(any_wish(), 0..40)).prop_map(move |(opened, wishes)| {
        let opening = opening.iter().filter(|_| opened).cloned();
        opening.chain(wishes).collect()
    })
}

/// Each item of a history knows the one below it that has the same image, also where the history came back as a whole: the
/// newest item loses what it had in place, and the one below is found.
#[test]
fn a_history_that_came_back_loses_its_newest_item() {
    let set = |image: u8, reference| {
        let from = source(SourceKind::DockerImage, format!("x0.io/a@{}", digest(image)));
        Wish::set_tag(0, SetTag { reference, ..set_tag(0, Some(from)) })
    };
    let mut live = Live::new();
    // Only pointed at, without an image: twice, and an image in between.
    live.round(&[set(0, true), set(1, false), Wish::pending(0, 1), set(0, true)]);
    live.check();
    live.round(&[Wish::delete_tag(0, 0), Wish::restore_tag(0)]);
    live.check();
    // Now it is imported, so its newest item gets an image in place.
    live.round(&[set(0, false), Wish::pending(0, 0)]);
    live.check();
    let history = live.view.history(&wishes::key(0), &tag(0), u64::MAX, usize::MAX);
    let images: Vec<_> = history.into_iter().map(|(_, current)| current.item.image).collect();
    assert_eq!(images, [Some(digest(0)), Some(digest(1)), None]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// After each command the rows say what the log means: streams, histories, images, requests, and what is to be done. Whether
    /// they are in memory or were written down makes no difference.
    #[test]
    fn the_view_is_the_model(wishes in wishes(), written_every in 1..12_usize) {
        let mut live = Live::new();
        for (number, wish) in wishes.into_iter().enumerate() {
            live.round(&[wish]);
            if number.is_multiple_of(written_every) {
                live.view.flush().expect("the disk is well");
            }
            live.check();
        }
    }

    /// For each moment, the events of a stream alone, which the rows name, tell what the rows said then: streams that are gone
    /// by now among them.
    #[test]
    fn each_moment_can_be_read_from_the_log(wishes in wishes()) {
        let mut live = Live::new();
        let mut moments = Vec::new();
        for wish in wishes {
            live.round(&[wish]);
            moments.push(live.moment());
        }
        for then in moments {
            prop_assert_eq!(live.moment_at(then.position), then);
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
    fn what_the_log_has_and_the_rows_have_not_is_caught_up(
        before in wishes(),
        in_memory in wishes(),
        lost in wishes(),
        after in wishes(),
    ) {
        let mut live = Live::new();
        live.round(&before);
        live.view.flush().expect("the disk is well");
        let position = live.view.position();
        live.round(&in_memory);
        live.round_without_commit(&lost);
        prop_assert_eq!(live.kill(), Opened::Kept(position));
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
