//! Finds the objects a command is about.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::failure::Failure;
use crate::kinds::{Kind, stream_and_id, stream_and_tag};
use crate::print::table::{self, Object};

/// Asks the server for objects.
pub(crate) struct Finder<'a> {
    /// The server.
    pub(crate) client: &'a Client,
    /// Where to look. Empty: everywhere.
    pub(crate) namespace: &'a str,
    /// Whether to fetch all of the history.
    pub(crate) whole: bool,
}

impl Finder<'_> {
    /// The object of that name.
    pub(crate) async fn named(&self, kind: Kind, name: &str) -> Result<Object, Failure> {
        let Self { client, namespace, whole } = self;
        match kind {
            Kind::Stream => {
                let mut stream = client.stream(namespace, name, u32::from(!whole)).await?;
                if *whole {
                    client.fill_history(&mut stream).await?;
                }
                client.name_repository(&mut stream);
                Ok(Object::Stream(stream))
            }
            Kind::StreamTag | Kind::ImageTag => {
                let (stream, tag) = stream_and_tag(name).ok_or_else(|| bad_name(kind))?;
                let found = client.tag(namespace, stream, tag, kind == Kind::ImageTag).await;
                let mut found = found.map_err(|failure| of_kind(failure, kind))?;
                if let (true, Some(stream)) = (whole, &mut found.stream) {
                    client.fill_history(stream).await?;
                }
                Ok(if kind == Kind::ImageTag { Object::ImageTag(found) } else { Object::StreamTag(found) })
            }
            Kind::StreamImage => {
                let (stream, id) = stream_and_id(name).ok_or_else(|| bad_name(kind))?;
                let (stream, image) = client.stream_image(namespace, stream, id).await?;
                Ok(Object::StreamImage { stream, image, name: name.to_owned() })
            }
            Kind::Image => Ok(Object::Image(client.image(name).await?)),
            Kind::Scheduled => {
                let (stream, tag) = stream_and_tag(name).ok_or_else(|| bad_name(kind))?;
                let tags = client.list_schedule(namespace, stream).await?;
                let found = tags.into_iter().find(|scheduled| scheduled.tag == tag);
                found.map(Object::Scheduled).ok_or_else(|| not_scheduled(name))
            }
            Kind::Secret => {
                let found = client.list_secrets(namespace).await?.into_iter().find(|s| s.name == name);
                found
                    .map(Object::Secret)
                    .ok_or_else(|| Failure::server("NotFound", &format!("secrets \"{name}\" not found")))
            }
        }
    }

    /// All objects of a kind.
    pub(crate) async fn all(&self, kind: Kind, selector: &str) -> Result<Vec<Object>, Failure> {
        match kind {
            Kind::StreamImage => {
                return Err(Failure::server(
                    "NotFound",
                    "Unable to list \"image.openshift.io/v1, Resource=imagestreamimages\": the server could not find the requested resource",
                ));
            }
            Kind::Image => {
                let images = self.client.list_images().await?;
                return Ok(images.into_iter().map(Object::Image).collect());
            }
            Kind::Scheduled => {
                let mut tags = self.client.list_schedule(self.namespace, "").await?;
                if !selector.is_empty() {
                    // Tags have the labels of their stream.
                    let streams = self.client.list_streams(self.namespace, selector, 1).await?;
                    let meant: BTreeSet<_> = streams.iter().map(|s| (&*s.namespace, &*s.name)).collect();
                    tags.retain(|tag| meant.contains(&(&*tag.namespace, &*tag.stream)));
                }
                return Ok(tags.into_iter().map(Object::Scheduled).collect());
            }
            // Nothing but their names tells them apart: a selector must not take all of them.
            Kind::Secret if !selector.is_empty() => {
                return Err(Failure::client("secrets have no labels to select them by: give their names"));
            }
            Kind::Secret => {
                let secrets = self.client.list_secrets(self.namespace).await?;
                return Ok(secrets.into_iter().map(Object::Secret).collect());
            }
            Kind::Stream | Kind::StreamTag | Kind::ImageTag => {}
        }
        let mut streams = self.client.list_streams(self.namespace, selector, u32::from(!self.whole)).await?;
        if self.whole {
            for stream in &mut streams {
                self.client.fill_history(stream).await?;
            }
        }
        Ok(match kind {
            Kind::Stream => {
                streams.iter_mut().for_each(|stream| self.client.name_repository(stream));
                streams.into_iter().map(Object::Stream).collect()
            }
            Kind::StreamTag => {
                streams.iter().flat_map(|s| table::tags_of(s, true)).map(Object::StreamTag).collect()
            }
            _ => streams.iter().flat_map(|s| table::tags_of(s, false)).map(Object::ImageTag).collect(),
        })
    }
}

fn not_scheduled(name: &str) -> Failure {
    let why = format!(
        "schedule \"{name}\" not found: the tag is not on the schedule, and its last import did not fail"
    );
    Failure::server("NotFound", &why)
}

/// A tag is an ImageStreamTag or an ImageTag, as it was asked for; what is missing is named so.
pub(crate) fn of_kind(failure: Failure, kind: Kind) -> Failure {
    match failure {
        Failure::Server { text, not_found: true } if kind == Kind::ImageTag => {
            Failure::Server { text: text.replacen(" imagestreamtags.", " imagetags.", 1), not_found: true }
        }
        other => other,
    }
}

/// What is said of a name that can be none of this kind.
pub(crate) fn bad_name(kind: Kind) -> Failure {
    let form = if kind == Kind::StreamImage { "<name>@<id>" } else { "<name>:<tag>" };
    Failure::server("BadRequest", &format!("{} must be retrieved with {form}", kind.plural_words()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tag_is_named_as_it_was_asked_for() {
        let missing = "imagestreamtags.image.openshift.io \"app:v1\" not found";
        let text = |kind| of_kind(Failure::server("NotFound", missing), kind).text();
        assert_eq!(text(Kind::StreamTag), format!("Error from server (NotFound): {missing}\n"));
        let other = "Error from server (NotFound): imagetags.image.openshift.io \"app:v1\" not found\n";
        assert_eq!(text(Kind::ImageTag), other);
    }
}
