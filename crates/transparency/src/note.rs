//! Text with signatures, and the keys that make and check them (C2SP `signed-note`).
//!
//! ```text
//! text, any number of lines
//!
//! — name of a key base64(key id || signature)
//! ```
//!
//! Anybody may add a signature, so signatures of unknown keys say nothing and are passed over. A signature that claims
//! to be of a known key and is not makes the whole note worthless.
//!
//! Key id: the first four bytes of `SHA-256(name || 0x0A || type || public key)`. It tells keys of one name apart; it
//! proves nothing.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use sha2::{Digest, Sha256};

use crate::cosignature;
use crate::text;

/// The largest note that is read, in bytes: what golang.org/x/mod/sumdb/note takes.
pub const MAX_NOTE_BYTES: usize = 1_000_000;

/// The most signatures a note may have. The specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 100;

/// What a signature line starts with: an em dash and a space.
const MARK: &str = "\u{2014} ";

/// What the text of a signing key starts with.
const PRIVATE: &str = "PRIVATE+KEY+";

/// A text and the signatures under it. Its own text is the whole note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// A note that nobody has signed yet. The text ends with a newline and has no other control characters.
    pub fn new(text: impl Into<String>) -> Result<Note, NoteError> {
        let text = text.into();
        if text.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge { size: text.len() });
        }
        if !text.ends_with('\n') {
            return Err(NoteError::NoNewline);
        }
        check_characters(&text)?;
        Ok(Note { text, signatures: Vec::new() })
    }

    /// Reads a note. No signature is checked: see [`Note::verify`].
    pub fn parse(note: &[u8]) -> Result<Note, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge { size: note.len() });
        }
        let note = str::from_utf8(note).map_err(|_| NoteError::NotUtf8)?;
        check_characters(note)?;
        // The text may have empty lines too: the last one ends it.
        let end = note.rfind("\n\n").ok_or(NoteError::NoSignatures)? + 1;
        let (text, rest) = note.split_at(end);
        let lines = rest[1..].strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(line.parse::<Signature>()?);
        }
        Ok(Note { text: text.to_owned(), signatures })
    }

    /// What is signed, with the newline at its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in the order of their lines.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Signs the text and adds the signature.
    pub fn sign(&mut self, key: &SigningKey) {
        self.add(key.sign(&self.text));
    }

    /// Adds a signature, such as one that a witness answered. The same one again is not added.
    pub fn add(&mut self, signature: Signature) {
        if !self.signatures.contains(&signature) {
            self.signatures.push(signature);
        }
    }

    /// Checks the signatures of known keys and gives them: at least one, each with its key, in the order of their lines.
    ///
    /// If a signature has the name and the id of a known key, it must be that key's, or the note is refused.
    pub fn verify<'n, 'k>(
        &'n self,
        known: impl IntoIterator<Item = &'k VerifierKey>,
    ) -> Result<Vec<Signed<'n, 'k>>, VerifyError> {
        let known: Vec<&VerifierKey> = known.into_iter().collect();
        let mut signed = Vec::new();
        for signature in &self.signatures {
            let mut candidates = known.iter().filter(|key| key.made(signature)).peekable();
            if candidates.peek().is_none() {
                continue;
            }
            match candidates.find(|key| key.verify(&self.text, signature)) {
                Some(key) => signed.push(Signed { key, signature }),
                None => {
                    return Err(VerifyError::WrongSignature {
                        name: signature.name.clone(),
                        id: signature.id,
                    });
                }
            }
        }
        if signed.is_empty() { Err(VerifyError::NotSigned) } else { Ok(signed) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// A signature that was checked, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'n, 'k> {
    /// The key that made it.
    pub key: &'k VerifierKey,
    /// The signature.
    pub signature: &'n Signature,
}

/// Notes have newlines and no other control characters.
fn check_characters(text: &str) -> Result<(), NoteError> {
    match text.bytes().find(|b| *b < 0x20 && *b != b'\n') {
        Some(byte) => Err(NoteError::ControlCharacter(byte)),
        None => Ok(()),
    }
}

/// One signature of a note. Its text is its line, without the newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: KeyId,
    bytes: Vec<u8>,
}

impl Signature {
    /// A signature by the key of that name and id. Its bytes depend on the type of the key.
    pub(crate) fn new(name: String, id: KeyId, bytes: Vec<u8>) -> Signature {
        Signature { name, id, bytes }
    }

    /// The name of the key that is said to have made it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of that key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What follows the key id: for Ed25519 the signature, for a cosignature its time before that.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = [&self.id.0[..], &self.bytes].concat();
        write!(f, "{MARK}{} {}", self.name, text::base64(&payload))
    }
}

impl FromStr for Signature {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Signature, NoteError> {
        let malformed = || NoteError::MalformedSignature { line: line.chars().take(200).collect() };
        let rest = line.strip_prefix(MARK).ok_or_else(malformed)?;
        let (name, payload) = rest.split_once(' ').ok_or_else(malformed)?;
        let payload = text::from_base64(payload).ok_or_else(malformed)?;
        match payload.split_first_chunk::<4>() {
            Some((id, bytes)) if !bytes.is_empty() && is_key_name(name) => {
                Ok(Signature { name: name.to_owned(), id: KeyId(*id), bytes: bytes.to_vec() })
            }
            Some(_) | None => Err(malformed()),
        }
    }
}

/// Tells keys of one name apart. Its text is eight hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// What a key signs, as the byte that stands before its public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyType {
    /// The text of a note (`0x01`). A log's key is one.
    Ed25519 = 0x01,
    /// A checkpoint and the time it was seen (`0x04`, C2SP `tlog-cosignature`). A witness's key is one.
    Cosignature = 0x04,
}

/// A key that checks signatures, with its name: what verifiers are configured with.
///
/// Its text, the *vkey*, is `<name>+<key id>+<base64(type || public key)>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    kind: KeyType,
    key: ed25519_dalek::VerifyingKey,
}

impl VerifierKey {
    fn new(name: String, kind: KeyType, key: ed25519_dalek::VerifyingKey) -> VerifierKey {
        let id = key_id(&name, kind, key.as_bytes());
        VerifierKey { name, id, kind, key }
    }

    /// Its name. A log's key is named like the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What it signs.
    pub fn key_type(&self) -> KeyType {
        self.kind
    }

    /// The public key (RFC 8032), without name and type.
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether a signature is said to be of this key.
    pub fn made(&self, signature: &Signature) -> bool {
        self.id == signature.id && self.name == signature.name
    }

    /// Whether a signature of the text is of this key. Strict: signatures that some implementations of Ed25519 take and
    /// others do not are taken to be wrong.
    pub fn verify(&self, text: &str, signature: &Signature) -> bool {
        if !self.made(signature) {
            return false;
        }
        match self.kind {
            KeyType::Ed25519 => self.verify_bytes(text.as_bytes(), &signature.bytes),
            KeyType::Cosignature => match cosignature::split(signature) {
                Some((time, bytes)) => self.verify_bytes(&cosignature::message(text, time), bytes),
                None => false,
            },
        }
    }

    fn verify_bytes(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = [&[self.kind as u8], &self.key.as_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, self.id, text::base64(&material))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<VerifierKey, KeyError> {
        if vkey.starts_with(PRIVATE) {
            return Err(KeyError::Private);
        }
        let (name, id, material) = split_key(vkey)?;
        let (kind, material) = match material.split_first() {
            Some((0x01, material)) => (KeyType::Ed25519, material),
            Some((0x04, material)) => (KeyType::Cosignature, material),
            Some((other, _)) => return Err(KeyError::UnknownType(*other)),
            None => return Err(KeyError::Length(0)),
        };
        let public = <&[u8; 32]>::try_from(material).map_err(|_| KeyError::Length(material.len()))?;
        check_id(id, key_id(name, kind, public))?;
        match ed25519_dalek::VerifyingKey::from_bytes(public) {
            Ok(key) if !key.is_weak() => Ok(VerifierKey::new(name.to_owned(), kind, key)),
            Ok(_) | Err(_) => Err(KeyError::NotAPublicKey),
        }
    }
}

/// A key that makes signatures, with its name. It is a secret: `Debug` shows only the public key, and the memory is
/// overwritten when it is dropped.
pub struct SigningKey {
    name: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key that follows from these 32 random bytes (RFC 8032 calls them the private key).
    pub fn from_seed(name: impl Into<String>, seed: &[u8; 32]) -> Result<SigningKey, KeyError> {
        let name = name.into();
        if !is_key_name(&name) {
            return Err(KeyError::Name);
        }
        Ok(SigningKey { name, key: ed25519_dalek::SigningKey::from_bytes(seed) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that checks what [`SigningKey::sign`] signs.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey::new(self.name.clone(), KeyType::Ed25519, self.key.verifying_key())
    }

    /// The key that checks what [`cosignature::sign`] signs. A witness uses its key for nothing else.
    pub fn cosigner(&self) -> VerifierKey {
        VerifierKey::new(self.name.clone(), KeyType::Cosignature, self.key.verifying_key())
    }

    /// Signs the text of a note, with the newline at its end.
    pub fn sign(&self, text: &str) -> Signature {
        let id = key_id(&self.name, KeyType::Ed25519, self.key.verifying_key().as_bytes());
        Signature::new(self.name.clone(), id, self.sign_bytes(text.as_bytes()).to_vec())
    }

    pub(crate) fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// The secret as text, `PRIVATE+KEY+<name>+<key id>+<base64(0x01 || seed)>`, as golang.org/x/mod/sumdb/note writes
    /// it. Whoever reads it can sign.
    pub fn to_private_text(&self) -> String {
        let material = [&[KeyType::Ed25519 as u8], &self.key.as_bytes()[..]].concat();
        format!("{PRIVATE}{}+{}+{}", self.name, self.verifier().id, text::base64(&material))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.verifier())
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    /// Reads the text that [`SigningKey::to_private_text`] writes. No error repeats any of it but the key id.
    fn from_str(private: &str) -> Result<SigningKey, KeyError> {
        let rest = private.strip_prefix(PRIVATE).ok_or(KeyError::NotPrivate)?;
        let (name, id, material) = split_key(rest)?;
        let seed = match material.split_first() {
            Some((0x01, seed)) => <&[u8; 32]>::try_from(seed).map_err(|_| KeyError::Length(seed.len()))?,
            Some((other, _)) => return Err(KeyError::UnknownType(*other)),
            None => return Err(KeyError::Length(0)),
        };
        let key = SigningKey::from_seed(name, seed)?;
        check_id(id, key.verifier().id)?;
        Ok(key)
    }
}

/// Splits `<name>+<key id>+<base64>`. The base64 may have a `+` of its own.
fn split_key(key: &str) -> Result<(&str, KeyId, Vec<u8>), KeyError> {
    let (name, rest) = key.split_once('+').ok_or(KeyError::Form)?;
    let (id, material) = rest.split_once('+').ok_or(KeyError::Form)?;
    if !is_key_name(name) {
        return Err(KeyError::Name);
    }
    if id.len() != 8 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(KeyError::Form);
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| KeyError::Form)?;
    let material = text::from_base64(material).ok_or(KeyError::Form)?;
    Ok((name, KeyId(id.to_be_bytes()), material))
}

fn check_id(given: KeyId, actual: KeyId) -> Result<(), KeyError> {
    if given == actual { Ok(()) } else { Err(KeyError::OtherId { given, actual }) }
}

fn key_id(name: &str, kind: KeyType, public_key: &[u8; 32]) -> KeyId {
    let digest: [u8; 32] = Sha256::new_with_prefix(name)
        .chain_update([b'\n', kind as u8])
        .chain_update(public_key)
        .finalize()
        .into();
    KeyId([digest[0], digest[1], digest[2], digest[3]])
}

/// Whether a key may have this name: not empty, no spaces of any kind, no `+`, no control characters.
fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+' || c < '\u{20}')
}

/// Why something is not a note.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is larger than [`MAX_NOTE_BYTES`].
    #[error("a note of {size} bytes is larger than the {limit} bytes that are read", limit = MAX_NOTE_BYTES)]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// It is not UTF-8.
    #[error("the note is not UTF-8: it was damaged on its way, or is something else")]
    NotUtf8,
    /// It has a control character other than a newline.
    #[error(
        "the note has the control character {0:#04x}: only newlines are allowed, so save it with Unix line ends and no \
         tabs"
    )]
    ControlCharacter(u8),
    /// The text of a new note does not end with a newline.
    #[error("the text of a note must end with a newline: add one")]
    NoNewline,
    /// There is no empty line with signatures after it.
    #[error(
        "the note has no signatures: they stand after an empty line, each line starting with an em dash and ending with a \
         newline"
    )]
    NoSignatures,
    /// It has more than [`MAX_SIGNATURES`].
    #[error(
        "the note has more than the {limit} signatures that are read: keep those of keys that somebody knows",
        limit = MAX_SIGNATURES
    )]
    TooManySignatures,
    /// A line after the text is not a signature.
    #[error(
        "`{line}` is not a signature: it must be an em dash, the name of a key, and the key id and signature in base64"
    )]
    MalformedSignature {
        /// The line, or its first 200 characters.
        line: String,
    },
}

/// Why a note is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A signature has the name and id of a known key and is not of that key.
    #[error(
        "the signature of {name} (key {id}) is wrong: the note was changed after it was signed, or is forged"
    )]
    WrongSignature {
        /// The name of the key.
        name: String,
        /// Its id.
        id: KeyId,
    },
    /// No known key signed it.
    #[error("no known key signed this: check which keys are known, and whether the signer has a new one")]
    NotSigned,
}

/// Why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text has another form.
    #[error("this is not a key: a key is its name, `+`, eight hexadecimal digits, `+`, and base64")]
    Form,
    /// A signing key was given for a verifier key. The text is not repeated.
    #[error(
        "this is a private key, and a public one is wanted: keep it secret, and give the key without `PRIVATE+KEY`"
    )]
    Private,
    /// A verifier key, or something else, was given for a signing key.
    #[error("this is not a private key: the text of one starts with `PRIVATE+KEY+`")]
    NotPrivate,
    /// A key may not have this name.
    #[error("the name of a key must not be empty and must have no spaces, no control characters and no `+`")]
    Name,
    /// The id is not the one that follows from name, type and public key.
    #[error(
        "the key has the id {actual}, not {given}: its name, or a digit, was changed; copy the key again"
    )]
    OtherId {
        /// The id in the text.
        given: KeyId,
        /// The id of the key.
        actual: KeyId,
    },
    /// The key is of a type that is not supported.
    #[error(
        "keys of type {0:#04x} are not supported: use an Ed25519 key (0x01) or an Ed25519 cosignature key (0x04)"
    )]
    UnknownType(u8),
    /// The key has another length.
    #[error("a key has 32 bytes after its type, not {0}: copy the key again")]
    Length(usize),
    /// The bytes are not a point of the curve, or one of small order, with which anybody could sign.
    #[error("the bytes are not a usable Ed25519 public key: ask its owner for the key again")]
    NotAPublicKey,
}
