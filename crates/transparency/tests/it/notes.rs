//! Notes, keys and checkpoints: what others have signed, and what is refused.

use tagtrail_transparency::checkpoint::{CheckpointError, OpenError};
use tagtrail_transparency::note::{
    KeyError, KeyType, MAX_NOTE_BYTES, MAX_SIGNATURES, NoteError, VerifyError,
};
use tagtrail_transparency::{Checkpoint, Note, SigningKey, VerifierKey, hash};

use crate::support::{LOG, LOG_KEY, key, signing};

/// The example of the specification, and of golang.org/x/mod/sumdb/note.
const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE: &str = "This is an example message.\n\n— example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

#[test]
fn the_example_of_the_specification() {
    let note = Note::parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.to_string(), EXAMPLE);
    let known = key(EXAMPLE_KEY);
    assert_eq!(known.to_string(), EXAMPLE_KEY);
    assert_eq!((known.name(), known.id().to_string().as_str()), ("example.com/foo", "530d903a"));
    assert_eq!(note.verify([&known]).unwrap().len(), 1);

    let changed = Note::parse(EXAMPLE.replace("an example", "my example").as_bytes()).unwrap();
    assert!(matches!(changed.verify([&known]), Err(VerifyError::WrongSignature { .. })));
    assert_eq!(note.verify([&key(LOG_KEY)]), Err(VerifyError::NotSigned));
    assert_eq!(note.verify([]), Err(VerifyError::NotSigned));
}

#[test]
fn the_checkpoint_of_a_little_log() {
    let checkpoint = Checkpoint::open(LOG.as_bytes(), &key(LOG_KEY)).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.size()), ("example.com/log/testdata", 15));
    assert_eq!(checkpoint.root().to_string(), "rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=");
    assert!(LOG.starts_with(&format!("{checkpoint}\n")));

    let open = |note: &str| Checkpoint::open(note.as_bytes(), &key(LOG_KEY));
    assert!(matches!(open(&LOG.replace("\n15\n", "\n16\n")), Err(OpenError::Signature(_))));
    assert_eq!(open(EXAMPLE), Err(OpenError::Signature(VerifyError::NotSigned)));
    let example = Checkpoint::open(EXAMPLE.as_bytes(), &key(EXAMPLE_KEY));
    assert_eq!(example, Err(OpenError::Checkpoint(CheckpointError::Lines)));
}

#[test]
fn a_log_speaks_only_for_itself() {
    let root = hash::leaf(b"entry");
    let checkpoint = Checkpoint::new("example.com/a", 1, root).unwrap();
    let (a, b) = (signing("example.com/a", 1), signing("example.com/b", 1));
    let note = checkpoint.sign(&a).unwrap();
    assert_eq!(Checkpoint::of(&note, &a.verifier()), Ok(checkpoint.clone()));
    assert_eq!(
        checkpoint.sign(&b).unwrap_err().to_string(),
        "the checkpoint is of the log `example.com/a`, the key of `example.com/b`: take the key of that log"
    );
    let mut forged = Note::new(checkpoint.to_string()).unwrap();
    forged.sign(&b);
    assert!(matches!(Checkpoint::of(&forged, &b.verifier()), Err(OpenError::OtherOrigin(_))));
}

#[test]
fn what_is_no_checkpoint() {
    let root = "rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=";
    let empty = hash::empty_root();
    for good in
        [format!("log\n15\n{root}\n"), format!("a b+c\n0\n{empty}\n"), format!("log\n1\n{root}\nmore\nyet\n")]
    {
        assert_eq!(good.parse::<Checkpoint>().unwrap().to_string(), good);
    }
    for (text, error) in [
        (String::new(), CheckpointError::Lines),
        ("log\n15\n".to_owned(), CheckpointError::Lines),
        (format!("log\n15\n{root}"), CheckpointError::Lines),
        (format!("\n15\n{root}\n"), CheckpointError::Origin),
        (format!("l\tog\n15\n{root}\n"), CheckpointError::Origin),
        (format!("log\n\n{root}\n"), CheckpointError::Size),
        (format!("log\n015\n{root}\n"), CheckpointError::Size),
        (format!("log\n+15\n{root}\n"), CheckpointError::Size),
        (format!("log\n15 \n{root}\n"), CheckpointError::Size),
        (format!("log\n18446744073709551616\n{root}\n"), CheckpointError::Size),
        ("log\n15\nrKbD\n".to_owned(), CheckpointError::Root),
        (format!("log\n15\n{root}\r\n"), CheckpointError::Root),
        (format!("log\n0\n{root}\n"), CheckpointError::EmptyRoot),
        (format!("log\n15\n{root}\n\n"), CheckpointError::Extension),
        (format!("log\n15\n{root}\nmore\n\nyet\n"), CheckpointError::Extension),
    ] {
        assert_eq!(text.parse::<Checkpoint>(), Err(error), "{text:?}");
    }
}

#[test]
fn what_is_no_note() {
    let malformed = |line: &str| NoteError::MalformedSignature { line: line.to_owned() };
    for (note, error) in [
        ("", NoteError::NoSignatures),
        ("text\n", NoteError::NoSignatures),
        ("text\n\n", NoteError::NoSignatures),
        ("\n— a AAAAAAA=\n", NoteError::NoSignatures),
        ("text\n— a AAAAAAA=\n", NoteError::NoSignatures),
        ("text\n\n— a AAAAAAA=", NoteError::NoSignatures),
        ("text\r\n\n— a AAAAAAA=\n", NoteError::ControlCharacter(b'\r')),
        ("te\txt\n\n— a AAAAAAA=\n", NoteError::ControlCharacter(b'\t')),
        ("text\n\n— a AAAAAAA=\n\n", NoteError::NoSignatures),
        ("text\n\n- a AAAAAAA=\n", malformed("- a AAAAAAA=")),
        ("text\n\n— a\n", malformed("— a")),
        ("text\n\n—  AAAAAAA=\n", malformed("—  AAAAAAA=")),
        ("text\n\n— a+b AAAAAAA=\n", malformed("— a+b AAAAAAA=")),
        ("text\n\n— a\u{a0}b AAAAAAA=\n", malformed("— a\u{a0}b AAAAAAA=")),
        ("text\n\n— a AAAAAA==\n", malformed("— a AAAAAA==")),
        ("text\n\n— a AAAAAAA\n", malformed("— a AAAAAAA")),
        ("text\n\n— a AAAAAAA= \n", malformed("— a AAAAAAA= ")),
        ("text\n\n— a AAAAAAA=\nmore\n", malformed("more")),
    ] {
        assert_eq!(Note::parse(note.as_bytes()), Err(error), "{note:?}");
    }
    assert_eq!(Note::parse(b"te\xffxt\n\n\xe2\x80\x94 a AAAAAAA=\n"), Err(NoteError::NotUtf8));
    let large = vec![b'a'; MAX_NOTE_BYTES + 1];
    assert_eq!(Note::parse(&large), Err(NoteError::TooLarge { size: MAX_NOTE_BYTES + 1 }));
    let lines = |count| format!("text\n\n{}", "— a AAAAAAA=\n".repeat(count));
    assert!(Note::parse(lines(MAX_SIGNATURES).as_bytes()).is_ok());
    assert_eq!(Note::parse(lines(MAX_SIGNATURES + 1).as_bytes()), Err(NoteError::TooManySignatures));

    assert_eq!(Note::new("text"), Err(NoteError::NoNewline));
    assert_eq!(Note::new("te\0xt\n"), Err(NoteError::ControlCharacter(0)));
}

#[test]
fn a_text_may_have_empty_lines() {
    for text in ["\n", "\n\n", "a\n\nb\n", "a\n\n\n", "a\n\n— b AAAAAAA=\n"] {
        let mut note = Note::new(text).unwrap();
        note.sign(&signing("example.com/a", 1));
        let read = Note::parse(note.to_string().as_bytes()).unwrap();
        assert_eq!((read.text(), &read), (text, &note));
    }
}

/// Sixteen signatures, of which one key is known: the others say nothing, a wrong one of the known key says all.
#[test]
fn only_known_keys_count() {
    let known = signing("example.com/0", 0);
    let mut note = Note::new("text\n").unwrap();
    for i in 0..16 {
        note.sign(&signing(&format!("example.com/{i}"), i));
    }
    // The name of the known key with another id, and its id under another name.
    note.sign(&signing("example.com/0", 99));
    let line = note.signatures()[0].to_string().replace("example.com/0", "example.com/other");
    note.add(line.parse().unwrap());
    let mut note = Note::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(note.signatures().len(), 18);
    let key = known.verifier();
    let signed = note.verify([&key]).unwrap();
    assert_eq!((signed.len(), signed[0].key), (1, &key));

    note.add(known.sign("another text\n"));
    let error = note.verify([&key]).unwrap_err().to_string();
    assert!(error.starts_with("the signature of example.com/0 (key "), "one of two is wrong: {error}");
}

/// The key of the Go checksum database: its base64 has a `+` too.
#[test]
fn a_key_is_split_at_the_first_two_signs() {
    let vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    let known = key(vkey);
    assert_eq!((known.name(), known.key_type()), ("sum.golang.org", KeyType::Ed25519));
    assert_eq!(known.to_string(), vkey);
    assert_eq!(
        key(&vkey.replace("033de0ae", "033DE0AE")),
        known,
        "the digits of an id have two cases, and one meaning"
    );
}

#[test]
fn what_is_no_key() {
    for (vkey, error) in [
        ("", KeyError::Form),
        ("example.com/foo", KeyError::Form),
        ("example.com/foo+530d903a", KeyError::Form),
        ("example.com/foo+30d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Form),
        ("example.com/foo++30d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Form),
        ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2", KeyError::Form),
        ("+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Name),
        ("a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Name),
        ("example.com/foo+530d903a+", KeyError::Length(0)),
        ("example.com/foo+530d903a+Aeky", KeyError::Length(2)),
        ("example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::UnknownType(2)),
        (
            "PRIVATE+KEY+example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            KeyError::Private,
        ),
    ] {
        assert_eq!(vkey.parse::<VerifierKey>(), Err(error), "{vkey}");
    }
    let other_name = EXAMPLE_KEY.replace("foo", "bar").parse::<VerifierKey>();
    assert!(matches!(other_name, Err(KeyError::OtherId { .. })));
    let other_type = EXAMPLE_KEY.replace("Aeky", "BOky").parse::<VerifierKey>();
    assert!(matches!(other_type, Err(KeyError::OtherId { .. })));
    // The neutral element of the curve: with it, one signature fits every text.
    let weak = "weak+1bfcce56+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse::<VerifierKey>();
    let weak = match weak {
        Err(KeyError::OtherId { actual, .. }) => {
            format!("weak+{actual}+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(weak.parse::<VerifierKey>(), Err(KeyError::NotAPublicKey));
}

/// The example key of golang.org/x/mod/sumdb/note and its public half.
#[test]
fn a_signing_key_has_a_text_of_its_own() {
    let private = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let key: SigningKey = private.parse().unwrap();
    assert_eq!(key.verifier().to_string(), public);
    assert_eq!(key.to_private_text(), private);
    assert_eq!(format!("{key:?}"), format!("SigningKey(of {public})"));
    assert_eq!(key.cosigner().key_type(), KeyType::Cosignature);
    assert_ne!(key.cosigner().id(), key.verifier().id());

    assert_eq!(public.parse::<SigningKey>().unwrap_err(), KeyError::NotPrivate);
    let secret = "AYEKFALVFGyNhPJEMzD1QIDr";
    for broken in
        [private.replace("c74f", "c74e"), private.replace("+AYEK", "+BIEK"), private.replace("DFz", "DF")]
    {
        let error = broken.parse::<SigningKey>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret[4..]), "{error:?}");
    }
}
