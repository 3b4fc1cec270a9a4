//! The recorded data itself: it can be read, and our normalisation is the recorder's.

use tagtrail_tests::case::{self, Step};
use tagtrail_tests::compare::difference;
use tagtrail_tests::normalise;

#[test]
fn our_normalisation_is_the_recorders() {
    let cases = case::load(&["all"]).expect("the cases are read");
    assert_eq!(cases.len(), 49);
    let mut pairs = 0;
    for case in &cases {
        for (index, step) in case.steps.iter().enumerate() {
            let Step::Command(recorded) = step else { continue };
            for (raw, norm) in
                [(&recorded.stdout, &recorded.stdout_norm), (&recorded.stderr, &recorded.stderr_norm)]
            {
                pairs += 1;
                if let Some(diff) = difference(norm, &normalise::text(raw)) {
                    panic!("{}, step {}:\n{diff}", case.name, index + 1);
                }
            }
        }
    }
    assert!(pairs > 800, "{pairs} pairs");
}

/// A recorded state is already in the form into which ours is brought.
#[test]
fn a_recorded_state_is_normal() {
    for case in case::load(&["all"]).expect("the cases are read") {
        for step in &case.steps {
            if let Step::Command(recorded) = step {
                for (name, stream) in &recorded.state {
                    assert_eq!(*stream, normalise::stream(stream.clone()), "{} {name}", case.name);
                }
            }
        }
    }
}
