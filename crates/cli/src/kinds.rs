//! The words for the kinds of things: `is`, `imagestreamtags.image.openshift.io`, and all between.

use crate::failure::Failure;
use crate::moment::When;

/// A kind of object this client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// An image stream.
    Stream,
    /// A tag with its present image.
    StreamTag,
    /// A tag with what it follows and what it has pointed to.
    ImageTag,
    /// An image in the history of a stream.
    StreamImage,
    /// An image by its digest.
    Image,
    /// A tag that is checked again without anybody asking. OpenShift does not tell of these.
    Scheduled,
    /// Credentials for registries. Kubernetes' kind, not OpenShift's.
    Secret,
}

impl Kind {
    /// Finds the kind for a word, in its short, singular, plural or full form and any case.
    pub(crate) fn of(word: &str) -> Option<Self> {
        let lower = word.to_lowercase();
        let bare = match lower.split_once('.') {
            None => &*lower,
            Some((bare, "image.openshift.io" | "v1.image.openshift.io")) => bare,
            Some(_) => return None,
        };
        match bare {
            // `all` is a category in Kubernetes. Of what there is here, image streams are in it.
            "is" | "imagestream" | "imagestreams" | "all" => Some(Self::Stream),
            "istag" | "imagestreamtag" | "imagestreamtags" => Some(Self::StreamTag),
            "itag" | "imagetag" | "imagetags" => Some(Self::ImageTag),
            "isimage" | "imagestreamimage" | "imagestreamimages" => Some(Self::StreamImage),
            "image" | "images" => Some(Self::Image),
            "schedule" | "schedules" => Some(Self::Scheduled),
            "secret" | "secrets" => Some(Self::Secret),
            _ => None,
        }
    }

    /// `imagestream.image.openshift.io`: how one of them is named.
    pub(crate) fn singular(self) -> &'static str {
        match self {
            Self::Stream => "imagestream.image.openshift.io",
            Self::StreamTag => "imagestreamtag.image.openshift.io",
            Self::ImageTag => "imagetag.image.openshift.io",
            Self::StreamImage => "imagestreamimage.image.openshift.io",
            Self::Image => "image.image.openshift.io",
            Self::Scheduled => "schedule",
            Self::Secret => "secret",
        }
    }

    /// `imagestreams.image.openshift.io`: how all of them are named.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Stream => "imagestreams.image.openshift.io",
            Self::StreamTag => "imagestreamtags.image.openshift.io",
            Self::ImageTag => "imagetags.image.openshift.io",
            Self::StreamImage => "imagestreamimages.image.openshift.io",
            Self::Image => "images.image.openshift.io",
            Self::Scheduled => "schedule",
            Self::Secret => "secrets",
        }
    }

    /// `ImageStreamTags`: how a bad name of one is complained about.
    pub(crate) fn plural_words(self) -> &'static str {
        match self {
            Self::Stream => "ImageStreams",
            Self::StreamTag => "ImageStreamTags",
            Self::ImageTag => "ImageTags",
            Self::StreamImage => "ImageStreamImages",
            Self::Image => "Images",
            Self::Scheduled => "Scheduled tags",
            Self::Secret => "Secrets",
        }
    }
}

/// What a command is about: kinds, and names of each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Targets {
    /// All of each kind.
    All(Vec<Kind>),
    /// These. `slashed`: they were written `TYPE/NAME`.
    Named {
        /// Kind and name, in the order given.
        list: Vec<(Kind, String)>,
        /// Whether they were written `TYPE/NAME`.
        slashed: bool,
    },
}

/// Why words are no targets. One sentence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// There are no words.
    #[error("you must specify the type of resource, such as is, istag, itag, isimage or image")]
    Nothing,
    /// No such kind.
    #[error("the server doesn't have a resource type \"{0}\"")]
    UnknownKind(String),
    /// `TYPE/NAME` and `TYPE NAME` in one.
    #[error(
        "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'tagtrail get resource/<resource_name>' instead of 'tagtrail get resource resource/<resource_name>'"
    )]
    Mixed,
    /// `TYPE/` or `/NAME`.
    #[error("arguments in resource/name form may not have more than one slash")]
    Slashes,
    /// `TYPE/` without a name.
    #[error("arguments in resource/name form must have a single resource and name")]
    Half,
    /// `TYPE NAME` with a selector.
    #[error("name cannot be provided when a selector is specified")]
    NameAndSelector,
    /// `TYPE/NAME` with a selector.
    #[error("selectors and the all flag cannot be used when passing resource/name arguments")]
    PairAndSelector,
}

impl Targets {
    /// Reads `TYPE[,TYPE…] [NAME…]` or `TYPE/NAME…`.
    ///
    /// # Errors
    /// [`TargetError`] in kubectl's words, and in the order in which kubectl looks.
    pub(crate) fn parse(words: &[String]) -> Result<Self, TargetError> {
        let kind = |word: &str| Kind::of(word).ok_or_else(|| TargetError::UnknownKind(word.to_owned()));
        let Some((first, names)) = words.split_first() else { return Err(TargetError::Nothing) };
        let kinds: Vec<&str> = first.split(',').filter(|word| !word.is_empty()).collect();
        // Several types with names are as many pairs: `is,istag x` is `is/x istag/x`.
        let pairs: Vec<String> = match kinds.len() {
            2.. if !names.is_empty() => {
                kinds.iter().flat_map(|kind| names.iter().map(move |name| format!("{kind}/{name}"))).collect()
            }
            _ => words.to_vec(),
        };
        match pairs.iter().filter(|word| word.contains('/')).count() {
            0 => {}
            slashes if slashes < pairs.len() => return Err(TargetError::Mixed),
            _ => {
                let pair = |word: &String| match word.split('/').collect::<Vec<_>>()[..] {
                    [word, name] if !word.is_empty() && !name.is_empty() && !word.contains(',') => {
                        Ok((word.to_owned(), name.to_owned()))
                    }
                    [_, _] => Err(TargetError::Half),
                    _ => Err(TargetError::Slashes),
                };
                let list = pairs.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
                let known = |(word, name): (String, String)| Ok((kind(&word)?, name));
                let list = list.into_iter().map(known).collect::<Result<_, _>>()?;
                return Ok(Self::Named { list, slashed: true });
            }
        }
        let kinds = kinds.into_iter().map(kind).collect::<Result<Vec<_>, _>>()?;
        match (kinds.first(), names) {
            (None, _) => Err(TargetError::Nothing),
            (Some(_), []) => Ok(Self::All(kinds)),
            (Some(kind), names) => {
                let list = names.iter().map(|name| (*kind, name.clone())).collect();
                Ok(Self::Named { list, slashed: false })
            }
        }
    }

    /// Refuses a moment of the past for what is not kept as it was.
    ///
    /// # Errors
    /// [`Failure::Client`], for the first such kind.
    pub(crate) fn have_a_past(&self, at: When) -> Result<(), Failure> {
        let why = |kind: &Kind| match kind {
            Kind::Stream | Kind::StreamTag | Kind::ImageTag | Kind::StreamImage => None,
            Kind::Image => Some("--at is not for images: they never change"),
            Kind::Scheduled => Some("--at is not for the schedule: of it, only what is to come is known"),
            Kind::Secret => Some("--at is not for secrets: nothing is kept of those that were deleted"),
        };
        let refused = match self {
            _ if at == When::Now => None,
            Self::All(kinds) => kinds.iter().find_map(why),
            Self::Named { list, .. } => list.iter().find_map(|(kind, _)| why(kind)),
        };
        refused.map_or(Ok(()), |why| Err(Failure::client(why)))
    }

    /// What is wrong where a selector or `--all` stands beside names.
    pub(crate) fn with_selector(&self) -> Option<TargetError> {
        match self {
            Self::All(_) => None,
            Self::Named { slashed: false, .. } => Some(TargetError::NameAndSelector),
            Self::Named { slashed: true, .. } => Some(TargetError::PairAndSelector),
        }
    }
}

impl Targets {
    /// Whether one object is asked for by its name.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self, Self::Named { list, .. } if list.len() == 1)
    }
}

/// Splits `stream:tag`. Nothing else is the name of a tag: not `stream`, `stream:`, `a:b:c` or `stream@digest`.
pub(crate) fn stream_and_tag(name: &str) -> Option<(&str, &str)> {
    let (stream, tag) = name.split_once(':')?;
    let good = !stream.is_empty() && !tag.is_empty() && !tag.contains(':') && !name.contains('@');
    good.then_some((stream, tag))
}

/// Splits `stream@id`.
pub(crate) fn stream_and_id(name: &str) -> Option<(&str, &str)> {
    let (stream, id) = name.split_once('@')?;
    (!stream.is_empty() && !id.is_empty() && !id.contains('@')).then_some((stream, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_for_a_kind_is_known() {
        for (words, kind) in [
            (
                "is imagestream imagestreams imagestreams.image.openshift.io imagestream.image.openshift.io IS",
                Kind::Stream,
            ),
            ("istag imagestreamtag imagestreamtags imagestreamtags.image.openshift.io", Kind::StreamTag),
            ("itag imagetag imagetags", Kind::ImageTag),
            ("isimage imagestreamimage imagestreamimages", Kind::StreamImage),
            ("image images images.image.openshift.io", Kind::Image),
            ("schedule schedules", Kind::Scheduled),
            ("secret secrets Secret", Kind::Secret),
        ] {
            for word in words.split(' ') {
                assert_eq!(Kind::of(word), Some(kind), "{word}");
            }
        }
        assert_eq!(Kind::of("pods"), None);
        assert_eq!(Kind::of("is.apps"), None);
    }

    #[test]
    fn targets_are_written_in_three_ways() {
        let parse =
            |words: &str| Targets::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let named = |list: &[(Kind, &str)], slashed| {
            Ok(Targets::Named {
                list: list.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect(),
                slashed,
            })
        };
        assert_eq!(parse("is,istag"), Ok(Targets::All(vec![Kind::Stream, Kind::StreamTag])));
        assert_eq!(parse("is app web"), named(&[(Kind::Stream, "app"), (Kind::Stream, "web")], false));
        assert_eq!(
            parse("is/app istag/app:v1"),
            named(&[(Kind::Stream, "app"), (Kind::StreamTag, "app:v1")], true)
        );
        let both = [(Kind::Stream, "a"), (Kind::Stream, "b"), (Kind::StreamTag, "a"), (Kind::StreamTag, "b")];
        assert_eq!(parse("is,istag a b"), named(&both, true));
        let refused = |words: &str| parse(words).expect_err(words);
        assert_eq!(refused(""), TargetError::Nothing);
        assert_eq!(refused("pods").to_string(), "the server doesn't have a resource type \"pods\"");
        assert_eq!(refused("is is/app"), TargetError::Mixed);
        assert_eq!(refused("is/app app"), TargetError::Mixed);
        assert_eq!(refused("is a/b"), TargetError::Mixed);
        assert_eq!(refused("is/a/b app"), TargetError::Mixed);
        assert_eq!(refused("is/a/b"), TargetError::Slashes);
        assert_eq!(refused("is,istag/a"), TargetError::Half);
        assert_eq!(refused("is/"), TargetError::Half);
    }

    #[test]
    fn only_streams_and_tags_have_a_past() {
        let check = |words: &str, want: &str| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let targets = Targets::parse(&words).expect("targets");
            assert!(targets.have_a_past(When::Now).is_ok(), "{words:?}");
            let got = targets.have_a_past(When::Sequence(7)).err().map(|failure| failure.text());
            assert_eq!(got.unwrap_or_default().split(": they").next(), Some(want), "{words:?}");
        };
        check("is", "");
        check("is,istag,itag", "");
        check("isimage app@sha256:12", "");
        check("is,image", "error: --at is not for images");
        let schedule = "error: --at is not for the schedule: of it, only what is to come is known\n";
        check("schedule/app:v1", schedule);
        let secrets = "error: --at is not for secrets: nothing is kept of those that were deleted\n";
        check("is/app secret/pull", secrets);
    }

    #[test]
    fn a_tag_is_a_stream_a_colon_and_a_tag() {
        assert_eq!(stream_and_tag("app:v1"), Some(("app", "v1")));
        for bad in ["app", "app:", ":v1", "app:v1:x", "app@sha256:12"] {
            assert_eq!(stream_and_tag(bad), None, "{bad}");
        }
        assert_eq!(stream_and_id("app@sha256:12"), Some(("app", "sha256:12")));
        assert_eq!(stream_and_id("app@"), None);
    }
}
