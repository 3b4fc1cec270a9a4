//! One image in words: `describe istag` and its like, and inside `import-image` (spec §4.7).

use std::collections::BTreeMap;

use tagtrail_api::v1::{Hold, Image, ImageConfig, Platform};

use crate::print::age::Now;
use crate::print::hold::held;
use crate::print::sections::Sections;
use crate::print::{size, tabs};

/// How an image is presented: things that do not belong to the image itself.
#[derive(Default)]
pub(crate) struct Presentation<'a> {
    /// `Image Name:`; no such line if it is empty.
    pub(crate) name: &'a str,
    /// Where to pull it from, if that is not where it first came from.
    pub(crate) reference: Option<&'a str>,
    /// Annotations of the tag it is shown for.
    pub(crate) annotations: BTreeMap<String, String>,
    /// What keeps that tag where it is.
    pub(crate) hold: Option<&'a Hold>,
}

/// The block of an image, its columns lined up.
pub(crate) fn block(image: &Image, presentation: &Presentation<'_>, now: Now) -> String {
    let mut text = Sections::default();
    if !presentation.name.is_empty() {
        text.pair("Image Name", presentation.name);
    }
    text.pair("Docker Image", presentation.reference.unwrap_or(&image.docker_image_reference));
    text.pair("Name", &image.digest);
    if image.created.is_some() {
        text.pair("Created", &now.ago(image.created.as_ref()));
    }
    if let Some(hold) = presentation.hold {
        text.pair("Held", &held(hold, now));
    }
    let mut annotations = annotations(image);
    annotations.extend(presentation.annotations.clone());
    if !annotations.is_empty() {
        text.annotations(&annotations);
    }
    let whole = size::human(image.size);
    if image.layers.is_empty() {
        text.pair("Layer Size", &whole);
    } else {
        text.pair("Image Size", &format!("{whole} in {} layers", image.layers.len()));
        let layers =
            image.layers.iter().map(|layer| format!("{}\t{}", size::human(layer.size), layer.digest));
        list(&mut text, "Layers", layers);
    }
    text.pair("Image Created", &now.ago(image.built_at.as_ref()));
    let nothing = ImageConfig::default();
    let config = image.config.as_ref().unwrap_or(&nothing);
    text.pair("Author", &config.author);
    text.pair("Arch", &config.architecture);
    let manifests = image.manifests.iter().map(|entry| {
        let Platform { os, architecture, .. } = entry.platform.clone().unwrap_or_default();
        format!("{os}/{architecture}\t{}", entry.digest)
    });
    list(&mut text, "Manifests", manifests);
    what_it_runs(&mut text, config);
    tabs::elastic(&text.0)
}

/// What OpenShift notes on an image it imported. An index has no layers to order.
pub(crate) fn annotations(image: &Image) -> BTreeMap<String, String> {
    let ordered = image.manifests.is_empty() && !image.config_digest.is_empty();
    let note = ("image.openshift.io/dockerLayersOrder".to_owned(), "ascending".to_owned());
    ordered.then_some(note).into_iter().collect()
}

fn what_it_runs(text: &mut Sections, config: &ImageConfig) {
    if !config.entrypoint.is_empty() {
        text.pair("Entrypoint", &config.entrypoint.join(" "));
    }
    if !config.command.is_empty() || config.entrypoint.is_empty() {
        text.pair("Command", &config.command.join(" "));
    }
    text.pair("Working Dir", &config.working_dir);
    text.pair("User", &config.user);
    let mut ports = config.exposed_ports.clone();
    ports.sort();
    text.pair("Exposes Ports", &ports.join(", "));
    text.map("Docker Labels", &config.labels);
    list(text, "Environment", config.environment.iter().cloned());
    let mut volumes = config.volumes.clone();
    volumes.sort();
    list(text, "Volumes", volumes.into_iter());
}

/// One value a line; no line at all without values.
fn list(text: &mut Sections, label: &str, values: impl Iterator<Item = String>) {
    for (index, value) in values.enumerate() {
        if index == 0 { text.pair(label, &value) } else { text.more(&value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded;

    #[test]
    fn a_hold_is_one_more_line() {
        let shown = |hold: Option<&Hold>| {
            let presentation = Presentation { hold, ..Presentation::default() };
            block(&Image::default(), &presentation, recorded::now())
        };
        let hold = Hold { held_by: "ana".into(), reason: "CVE".into(), ..Hold::default() };
        let (with, without) = (shown(Some(&hold)), shown(None));
        let line = with.lines().find(|line| line.starts_with("Held:")).expect("a line");
        assert!(line.contains("by ana since ") && line.ends_with(": CVE"), "{line}");
        assert_eq!(
            with.lines().filter(|other| *other != line).collect::<Vec<_>>(),
            without.lines().collect::<Vec<_>>()
        );
    }
}
