//! Which tags a registry is asked about again without anybody wishing for it, and when such a check may end without
//! fetching anything.

use crate::digest::Digest;
use crate::import_plan::{is_scheduled, preferred_platform};
use crate::state::TagState;

/// Why a tag is checked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It is on the schedule.
    Scheduled,
    /// Its last import failed. (In OpenShift that is final until somebody wishes anew, spec §3.1.)
    Failed,
}

/// Whether a tag is to be checked again, and why.
#[must_use]
pub fn reason(state: &TagState) -> Option<Reason> {
    if is_scheduled(state) {
        return Some(Reason::Scheduled);
    }
    let importable = state.spec.as_ref().is_some_and(|spec| spec.is_importable());
    (state.condition.is_some() && importable).then_some(Reason::Failed)
}

/// What the registry named when the tag got its present image, or the one that is withheld from it. If it still names that,
/// nothing has moved. `None`: the image has to be fetched to know, because the tag failed, was set anew, would now take
/// another image out of the same index, or is only told to have the one it has. `default_platform` is what is taken where the tag prefers nothing: operating system, architecture.
#[must_use]
pub fn unmoved<'s>(state: &'s TagState, default_platform: (&str, &str)) -> Option<&'s Digest> {
    let spec = state.spec.as_ref()?;
    let withheld = state.hold.as_ref().and_then(|hold| hold.withheld.as_ref());
    let item = withheld.or(state.current.as_ref().map(|current| &current.item))?;
    // A held tag waits for nothing, whatever was wished before.
    let open = item.generation < spec.generation && state.hold.is_none();
    if state.condition.is_some() || open || item.is_only_told() {
        return None;
    }
    let Some(index) = &item.index else { return item.image.as_ref() };
    let (os, architecture) = preferred_platform(spec);
    let (default_os, default_architecture) = default_platform;
    // An empty annotation prefers nothing.
    let os = os.as_deref().filter(|os| !os.is_empty()).unwrap_or(default_os);
    let architecture = architecture.as_deref().filter(|a| !a.is_empty()).unwrap_or(default_architecture);
    let platform = item.platform.as_ref()?;
    ((platform.os.as_str(), platform.architecture.as_str()) == (os, architecture)).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Failure, FailureKind, Platform};
    use crate::state::{Current, HistoryItem, Hold, HoldTerms};
    use crate::tag::{Entries, ImportCondition, ImportPolicy, SourceKind, TagSource, TagSpec};
    use crate::time::Timestamp;

    fn digest(of: char) -> Digest {
        Digest::parse(&format!("sha256:{}", of.to_string().repeat(64))).expect("well-formed")
    }

    /// A tag in a few words: `scheduled`, `failed`, `reference`, `alias`, `digest` (as its source), `amd64` or `arm64`
    /// (its image, of which the index is `b`), `plain` (an image without index), `told` (by a document only), `prefers-arm64`,
    /// `set-anew`, `held`, `withheld` (held, and `d` is withheld from it).
    fn tag(words: &str) -> TagState {
        let has = |word: &str| words.split(' ').any(|w| w == word);
        let name = if has("digest") { format!("quay.io/a@{}", digest('a')) } else { "quay.io/a:1".into() };
        let kind = if has("alias") { SourceKind::ImageStreamTag } else { SourceKind::DockerImage };
        let preference = ("importer.image.openshift.io/prefer-arch".to_owned(), "arm64".to_owned());
        let spec = TagSpec {
            source: Some(TagSource { kind, namespace: None, name }),
            reference: has("reference"),
            generation: if has("set-anew") { 2 } else { 1 },
            import_policy: ImportPolicy { scheduled: has("scheduled"), ..ImportPolicy::default() },
            annotations: has("prefers-arm64").then_some(preference).into_iter().collect::<Entries>(),
            ..TagSpec::default()
        };
        let architecture = ["amd64", "arm64"].into_iter().find(|a| has(a));
        let platform = architecture.map(|architecture| Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: String::new(),
        });
        let index = platform.is_some().then(|| digest('b'));
        let item = (has("plain") || index.is_some()).then(|| HistoryItem {
            created: Timestamp::default(),
            reference: String::new(),
            image: Some(digest('a')),
            index,
            generation: 1,
            media_type: if has("told") { String::new() } else { "manifest".into() },
            platform,
        });
        let failure = Failure { kind: FailureKind::NotFound, reason: String::new(), message: String::new() };
        let condition = ImportCondition { failure, generation: 1, since: Timestamp::default() };
        let withheld = item.clone().filter(|_| has("withheld"));
        let withheld = withheld.map(|item| HistoryItem { image: Some(digest('d')), ..item });
        let hold = (has("held") || has("withheld")).then(|| Hold {
            terms: HoldTerms::default(),
            since: Timestamp::default(),
            sequence: 2,
            withheld,
        });
        TagState {
            spec: Some(spec),
            hold,
            current: item.map(|item| Current { item, sequence: 1 }),
            condition: has("failed").then_some(condition),
            ..TagState::default()
        }
    }

    #[test]
    fn scheduled_and_failed_tags_are_checked_again() {
        let check = |words: &str, expected| assert_eq!(reason(&tag(words)), expected, "{words}");
        check("plain", None);
        check("plain scheduled", Some(Reason::Scheduled));
        check("scheduled failed", Some(Reason::Scheduled));
        check("failed", Some(Reason::Failed));
        check("plain failed", Some(Reason::Failed));
        // Nothing there that could be imported.
        check("scheduled reference", None);
        check("failed reference", None);
        check("failed alias", None);
        // A digest cannot change.
        check("scheduled digest", Some(Reason::Scheduled));
        check("scheduled digest plain", None);
        check("scheduled digest plain failed", Some(Reason::Failed));
        assert_eq!(reason(&TagState::default()), None);
    }

    #[test]
    fn what_a_registry_names_if_nothing_has_moved() {
        let check = |words: &str, expected: Option<char>| {
            assert_eq!(unmoved(&tag(words), ("linux", "amd64")), expected.map(digest).as_ref(), "{words}");
        };
        check("plain", Some('a'));
        check("amd64", Some('b'));
        // It would take another image out of the same index now.
        check("amd64 prefers-arm64", None);
        check("arm64", None);
        check("arm64 prefers-arm64", Some('b'));
        // Only the image itself can take back a failure, or answer a wish.
        check("plain failed", None);
        check("plain set-anew", None);
        check("scheduled", None);
        // Nobody here has seen it.
        check("plain told", None);
        // A held tag stays, so what is withheld is what was seen last.
        check("plain held", Some('a'));
        check("plain withheld", Some('d'));
        check("plain withheld failed", None);
    }
}
