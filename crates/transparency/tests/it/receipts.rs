//! Cosignatures, and receipts: good ones, and what is refused.

use tagtrail_transparency::note::{NoteError, VerifyError as NoteVerifyError};
use tagtrail_transparency::proof::ProofError;
use tagtrail_transparency::receipt::{MAX_RECEIPT_BYTES, ReceiptError, VerifyError};
use tagtrail_transparency::{Checkpoint, Note, Policy, Receipt, cosignature, hash};

use crate::support::{COSIGNATURE, COSIGNED_AT, LOG, LOG_KEY, WITNESS_KEY, key, signing};

/// The receipt for `five`, entry 4 of the little log, with a cosignature.
fn receipt() -> String {
    format!(
        "c2sp.org/tlog-proof@v1\n\
         extra Zml2ZQ==\n\
         index 4\n\
         yiM+eia4w1wsk/Ukx7kF56IQVkDW3MWUaUz/VtJu+yU=\n\
         nk9gCR+floFqznAPtqjjcnnV64dge2jQB95D5t164Hg=\n\
         zY1lN35vrXYAPixXSd59LsU29xUJtuW4o2dNNg5Y2Co=\n\
         5jLpqTgjsBDSEX6SgZiRnbTMdTuRd8bQ5tSsAOxe0Ks=\n\
         \n\
         {LOG}{COSIGNATURE}\n"
    )
}

fn parse(text: &str) -> Receipt {
    Receipt::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_cosignature_names_its_time() {
    let witness = signing("witness.example.com/w1", 7);
    assert_eq!(witness.cosigner().to_string(), WITNESS_KEY);
    let checkpoint = Checkpoint::open(LOG.as_bytes(), &key(LOG_KEY)).unwrap();
    let signature = cosignature::sign(&witness, &checkpoint, COSIGNED_AT).unwrap();
    assert_eq!(signature.to_string(), COSIGNATURE);
    assert_eq!(cosignature::time(&signature), Some(COSIGNED_AT));

    let mut note = Note::parse(LOG.as_bytes()).unwrap();
    note.add(signature);
    let known = [key(LOG_KEY), key(WITNESS_KEY)];
    assert_eq!(note.verify(&known).unwrap().len(), 2);

    // One second later it is another message.
    let later = COSIGNATURE.replace("gSKlqwAAAABkGFDL", "gSKlqwAAAABkGFDM");
    let mut note = Note::parse(LOG.as_bytes()).unwrap();
    note.add(later.parse().unwrap());
    assert!(matches!(note.verify(&known), Err(NoteVerifyError::WrongSignature { .. })));

    // No cosignature is that of a note, and the other way round.
    let mut note = Note::new(checkpoint.to_string()).unwrap();
    note.sign(&witness);
    assert_eq!(note.verify(&known), Err(NoteVerifyError::NotSigned));
    assert_eq!(cosignature::time(&note.signatures()[0]), None);

    assert!(cosignature::sign(&witness, &checkpoint, cosignature::MAX_TIME).is_ok());
    assert!(cosignature::sign(&witness, &checkpoint, cosignature::MAX_TIME + 1).is_err());
}

#[test]
fn a_receipt_proves_its_entry() {
    let receipt = parse(&receipt());
    assert_eq!(receipt.to_string(), self::receipt());
    assert_eq!((receipt.index(), receipt.extra()), (4, Some(&b"five"[..])));
    let checkpoint = receipt.verify(&hash::leaf(b"five"), &key(LOG_KEY)).unwrap();
    assert_eq!(checkpoint.size(), 15);

    let policy = format!("log {LOG_KEY}\nwitness w {WITNESS_KEY}\nquorum w\n");
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let accepted = receipt.verify_by(&hash::leaf(b"five"), &policy).unwrap();
    assert_eq!(accepted.checkpoint, checkpoint);
    assert_eq!(accepted.log.key, key(LOG_KEY));
    let witnesses: Vec<_> = accepted.witnesses.iter().map(|(w, time)| (w.name.to_string(), *time)).collect();
    assert_eq!(witnesses, [("w".to_owned(), COSIGNED_AT)]);
}

#[test]
fn what_a_receipt_does_not_prove() {
    let verify =
        |text: &str, entry: &[u8]| parse(text).verify(&hash::leaf(entry), &key(LOG_KEY)).unwrap_err();
    let good = receipt();
    for (changed, entry) in [
        (good.clone(), &b"fife"[..]),
        (good.replace("index 4", "index 5"), b"five"),
        (good.replace("index 4", "index 12"), b"five"),
        (good.replace("yiM+", "yjM+"), b"five"),
    ] {
        let error = verify(&changed, entry);
        assert!(matches!(error, VerifyError::Proof(ProofError::OtherRoot { .. })), "{error}");
    }
    let last = "5jLpqTgjsBDSEX6SgZiRnbTMdTuRd8bQ5tSsAOxe0Ks=\n";
    let error = verify(&good.replace(last, ""), b"five");
    assert_eq!(error, VerifyError::Proof(ProofError::TooShort));
    let error = verify(&good.replace(last, &last.repeat(2)), b"five");
    assert_eq!(error, VerifyError::Proof(ProofError::TooLong));
    let error = verify(&good.replace("index 4", "index 15"), b"five");
    assert_eq!(error, VerifyError::Proof(ProofError::IndexOutside { index: 15, start: 0, end: 15 }));
    let error = verify(&good.replace("\n15\n", "\n14\n"), b"five");
    assert!(matches!(error, VerifyError::Checkpoint(_)), "{error}");
    let error = parse(&good).verify(&hash::leaf(b"five"), &key(WITNESS_KEY)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the checkpoint of the receipt is not to be believed: the checkpoint is of the log \
         `example.com/log/testdata`, the key of `witness.example.com/w1`: take the key of that log"
    );
}

#[test]
fn what_is_no_receipt() {
    let good = receipt();
    let first = "yiM+eia4w1wsk/Ukx7kF56IQVkDW3MWUaUz/VtJu+yU=\n";
    for (text, error) in [
        (String::new(), ReceiptError::Header),
        (LOG.to_owned(), ReceiptError::Header),
        (good.replace("@v1", "@v2"), ReceiptError::Header),
        (good.replace("@v1\n", "@v1\r\n"), ReceiptError::Header),
        (good.replace("extra Zml2ZQ==", "extra Zml2ZQ"), ReceiptError::Extra),
        (good.replace("extra Zml2ZQ==", "Extra Zml2ZQ=="), ReceiptError::Index),
        (good.replace("index 4\n", ""), ReceiptError::Index),
        (good.replace("index 4", "index 04"), ReceiptError::Index),
        (good.replace("index 4", "index -4"), ReceiptError::Index),
        (good.replace("index 4", "index  4"), ReceiptError::Index),
        (good.replace("index 4", "index 18446744073709551616"), ReceiptError::Index),
        (good.replace("yiM+", "yiM"), ReceiptError::Hash { number: 1 }),
        (good.replace("zY1l", "zY1l "), ReceiptError::Hash { number: 3 }),
        (good.replace(first, &first.repeat(70)), ReceiptError::TooManyHashes),
        (good.split("\n\n").next().unwrap().to_owned(), ReceiptError::NoCheckpoint),
        (good.trim_end().to_owned(), ReceiptError::Checkpoint(NoteError::NoSignatures)),
        ("a".repeat(MAX_RECEIPT_BYTES + 1), ReceiptError::TooLarge { size: MAX_RECEIPT_BYTES + 1 }),
    ] {
        assert_eq!(Receipt::parse(text.as_bytes()), Err(error), "{text:?}");
    }
    // An empty line too early: what follows is then taken for the text of the note, which nobody signed.
    let read = parse(&good.replace(first, "\n"));
    assert!(matches!(read.verify(&hash::leaf(b"five"), &key(LOG_KEY)), Err(VerifyError::Checkpoint(_))));
}
