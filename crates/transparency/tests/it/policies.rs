//! Policies: which are read, which are refused with what advice, and what they accept.

use tagtrail_transparency::note::{Note, VerifierKey};
use tagtrail_transparency::policy::{PolicyError, Refusal};
use tagtrail_transparency::{Checkpoint, Policy, cosignature, hash};

use crate::support::{LOG_KEY, signing};

/// Writes a policy: `L1` and `W1` stand for the keys of logs and witnesses.
fn written(policy: &str) -> String {
    let mut text = policy.to_owned();
    for i in (1..=9).rev() {
        text = text.replace(&format!("L{i}"), &log(i).to_string());
        text = text.replace(&format!("W{i}"), &witness(i).to_string());
    }
    text
}

fn log(i: u8) -> VerifierKey {
    signing(&format!("log.example/{i}"), i).verifier()
}

fn witness(i: u8) -> VerifierKey {
    signing(&format!("witness.example/{i}"), 100 + i).cosigner()
}

/// The checkpoint of log 1, signed by these logs and witnesses.
fn checkpoint(logs: &[u8], witnesses: &[u8]) -> Note {
    let checkpoint = Checkpoint::new("log.example/1", 1, hash::leaf(b"entry")).unwrap();
    let mut note = Note::new(checkpoint.to_string()).unwrap();
    for i in logs {
        note.sign(&signing(&format!("log.example/{i}"), *i));
    }
    for i in witnesses {
        let key = signing(&format!("witness.example/{i}"), 100 + i);
        note.add(cosignature::sign(&key, &checkpoint, 1000 + u64::from(*i)).unwrap());
    }
    note
}

/// The example of the specification, with its spaces, tabs and comments in disorder.
const EXAMPLE: &str = "# Two organisations.\n\
    log L1 https://log.example/1\n\
    log L2\n\
    \t\n\
    \twitness  x1\tW1 \n\
    witness x2 W2 https://witness.example/2\n\
      # and one more\n\
    witness x3 W3\n\
    group xs 2 x1 x2 x3\n\
    witness y1 W4\n\
    witness y2 W5\n\
    group ys any y1 y2\n\
    group both all xs ys\n\
    quorum both";

#[test]
fn a_quorum_decides() {
    let policy = Policy::parse(written(EXAMPLE).as_bytes()).unwrap();
    for (logs, witnesses, verdict) in [
        (&[1][..], &[1, 2, 4][..], "1 2 4"),
        (&[1], &[2, 3, 5], "2 3 5"),
        (&[1], &[5, 4, 3, 2, 1], "1 2 3 4 5"),
        (&[1, 2], &[1, 2, 4], "1 2 4"),
        (&[1, 9], &[1, 2, 4, 9], "1 2 4"),
        (&[1], &[1, 2], "2 of the 5 witnesses of the policy cosigned it, which is not the quorum `both`"),
        (&[1], &[1, 4, 5], "3 of the 5 witnesses"),
        (&[1], &[9], "0 of the 5 witnesses"),
        (&[], &[1, 2, 4], "no log of the policy signed it"),
        (&[9], &[1, 2, 4], "no log of the policy signed it"),
        (&[2], &[1, 2, 4], "the checkpoint is of the log `log.example/1`, the key of `log.example/2`"),
        (&[9], &[9], "no known key signed this"),
    ] {
        let note = checkpoint(logs, witnesses);
        let given = match policy.check(&note) {
            Ok(accepted) => {
                assert_eq!(accepted.log.key, log(1));
                let numbers: Vec<_> =
                    accepted.witnesses.iter().map(|(w, time)| (w.key.name(), time - 1000)).collect();
                assert!(numbers.iter().all(|(name, i)| name.ends_with(&i.to_string())));
                numbers.iter().map(|(_, i)| i.to_string()).collect::<Vec<_>>().join(" ")
            }
            Err(refusal) => refusal.to_string(),
        };
        assert!(given.starts_with(verdict), "{logs:?} {witnesses:?}: {given}");
    }
}

#[test]
fn a_wrong_signature_of_anybody_known_is_enough() {
    let policy = Policy::parse(written("log L1\nwitness w W1\nquorum none\n").as_bytes()).unwrap();
    let mut note = checkpoint(&[1], &[]);
    assert!(policy.check(&note).is_ok(), "no witness is asked for");
    let other = Checkpoint::new("log.example/1", 2, hash::leaf(b"entry")).unwrap();
    note.add(cosignature::sign(&signing("witness.example/1", 101), &other, 1).unwrap());
    assert!(matches!(policy.check(&note), Err(Refusal::Signature(_))));
}

/// A witness that cosigned again later counts once, with the later time.
#[test]
fn a_witness_counts_once() {
    let policy =
        Policy::parse(written("log L1\nwitness a W1\nwitness b W2\ngroup g 2 a b\nquorum g\n").as_bytes())
            .unwrap();
    let mut note = checkpoint(&[1], &[1]);
    let read: Checkpoint = note.text().parse().unwrap();
    note.add(cosignature::sign(&signing("witness.example/1", 101), &read, 5000).unwrap());
    assert_eq!(note.signatures().len(), 3);
    assert!(matches!(policy.check(&note), Err(Refusal::NoQuorum { saw: 1, of: 2, .. })));
    note.add(checkpoint(&[], &[2]).signatures()[0].clone());
    let accepted = policy.check(&note).unwrap();
    assert_eq!(accepted.witnesses.iter().map(|(_, time)| *time).collect::<Vec<_>>(), [5000, 1002]);
}

#[test]
fn a_policy_is_its_lines() {
    for text in
        [EXAMPLE, "quorum none", "log L1\nquorum none\n", "witness n\u{e9} W1 u\u{e9}\nquorum n\u{e9}"]
    {
        let policy = Policy::parse(written(text).as_bytes()).unwrap();
        assert_eq!(Policy::parse(&policy.to_bytes()), Ok(policy));
    }
    let of_log = Policy::of_log(LOG_KEY.parse().unwrap());
    assert_eq!(of_log.to_bytes(), format!("log {LOG_KEY}\nquorum none\n").as_bytes());
    let latin: Vec<u8> = [b"witness \xe9 ", written("W1").as_bytes(), b"\nquorum \xe9\n"].concat();
    assert_eq!(Policy::parse(&latin).unwrap().to_bytes(), latin, "names are octets");
    let nobody = Policy::parse(b"quorum none").unwrap();
    assert!(nobody.check(&checkpoint(&[1], &[])).is_err());
}

#[test]
fn what_is_no_policy() {
    for (text, advice) in [
        ("", "the policy has no quorum: add a line"),
        ("log L1\n", "the policy has no quorum"),
        ("quorum none\r\n", "line 1 of the policy: it has the control character 0x0d"),
        ("quorum\u{7f} none", "line 1 of the policy: it has the control character 0x7f"),
        ("logs L1", "line 1 of the policy: `logs` says nothing here"),
        ("log", "line 1 of the policy: a log is written `log <vkey> [<url>]`"),
        ("\nlog L1 url more", "line 2 of the policy: a log is written"),
        ("log W1", "line 1 of the policy: this is the key of a witness"),
        ("log L1\nlog L1 url", "line 2 of the policy: an earlier line has the same public key"),
        ("log example.com/foo", "line 1 of the policy: this is not a key"),
        ("witness W1", "line 1 of the policy: a witness is written"),
        ("witness a L1", "line 1 of the policy: this key is of type 0x01"),
        ("witness a W1\nwitness b W1", "line 2 of the policy: an earlier line has the same public key"),
        ("witness a W1\nwitness a W2", "line 2 of the policy: the name `a` is taken"),
        ("witness none W1", "line 1 of the policy: nothing may be named `none`"),
        ("witness a W1\ngroup a any a", "line 2 of the policy: the name `a` is taken"),
        ("witness a W1\ngroup none any a", "line 2 of the policy: nothing may be named `none`"),
        ("group g any", "line 1 of the policy: a group is written"),
        ("group g any g", "line 1 of the policy: no witness or group `g` is defined before"),
        ("group g any none", "line 1 of the policy: no witness or group `none` is defined before"),
        ("group g any a\nwitness a W1", "line 1 of the policy: no witness or group `a` is defined before"),
        ("witness a W1\ngroup g 0 a", "line 2 of the policy: `0` is not how many of 1 members"),
        ("witness a W1\ngroup g 2 a", "line 2 of the policy: `2` is not how many of 1 members"),
        ("witness a W1\ngroup g 01 a", "line 2 of the policy: `01` is not how many"),
        ("witness a W1\ngroup g most a", "line 2 of the policy: `most` is not how many"),
        ("witness a W1\ngroup g any a a", "line 2 of the policy: `a` is a member of a group already"),
        (
            "witness a W1\ngroup g any a\ngroup h any g a",
            "line 3 of the policy: `a` is a member of a group already",
        ),
        ("quorum", "line 1 of the policy: the quorum is written"),
        ("quorum a b", "line 1 of the policy: the quorum is written"),
        ("quorum a", "line 1 of the policy: no witness or group `a` is defined before"),
        ("quorum none\nquorum none", "line 2 of the policy: the quorum stands on an earlier line already"),
    ] {
        let error = Policy::parse(written(text).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(advice), "{text:?}: {error}");
    }
    // The same public key under another name is the same key.
    let renamed = signing("other.example", 101).cosigner();
    let text = written(&format!("witness a W1\nwitness b {renamed}\nquorum none"));
    assert!(matches!(Policy::parse(text.as_bytes()), Err(PolicyError::Line { line: 2, .. })));
    assert!(matches!(Policy::parse(&vec![b'\n'; 1_000_001]), Err(PolicyError::TooLarge { .. })));
}
