//! Which tags point, or pointed, to an image, and from when to when.
//!
//! A tag points to an image itself, or to an image index that holds it: the spans of both are merged into one order.

use std::collections::BTreeMap;

use tagtrail_api::v1;
use tagtrail_domain::{Digest, Namespace, StreamKey, TagName};
use tagtrail_projection::{Span, Within};
use tonic::Status;

use super::prefix::Prefix;
use super::{Services, check, errors};
use crate::past::{Past, PastError};

/// Most tags in one page, and most spans that are looked at for one.
const PAGE: usize = 1_000;
const LOOKED_AT: usize = 20_000;

/// Where a page ends: everything up to here was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    image: Digest,
    /// A span of the image. `None`: the image's spans begin here.
    after: Option<Span>,
}

/// A span of an image, and the image index through which the tag pointed to it.
struct Found {
    index: Option<Digest>,
    span: Span,
}

impl Services {
    pub(super) fn page_of_whereabouts(
        &self,
        request: &v1::WhereRequest,
    ) -> Result<v1::WhereResponse, Status> {
        let prefix = check(Prefix::parse(&request.digest))?;
        let at = self.at(request.at.as_ref())?.map(|at| at.sequence);
        let mut place = match request.page_token.as_str() {
            "" => None,
            text => Some(Place::parse(text).ok_or_else(|| errors::bad_page_token(text))?),
        };
        let namespace = match request.namespace.as_str() {
            "" => None,
            // A text that is no namespace has no tags.
            text => match Namespace::parse(text) {
                Ok(namespace) => Some(namespace),
                Err(_) => return Ok(v1::WhereResponse::default()),
            },
        };
        let within = namespace.as_ref().map_or(Within::Everything, Within::Namespace);
        let size = self.page(request.page_size, PAGE);
        let past = self.past();
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let more = loop {
            if found.len() >= size || looked_at >= LOOKED_AT {
                break true;
            }
            let Some(here) = place.take().or_else(|| past.next_place(&prefix, None)) else { break false };
            let spans = past.spans(&here, within, size);
            looked_at += spans.len().max(1);
            let last = spans.last().map(|last| last.span.clone());
            let all = spans.len() < size;
            let mut counted = spans.into_iter().filter(|found| at.is_none_or(|at| found.span.since <= at));
            let room = size - found.len();
            found.extend(counted.by_ref().take(room).map(|span| (here.image.clone(), span)));
            let left = counted.next().is_some();
            place = if left {
                let end = found.last().map(|(_, found): &(Digest, Found)| found.span.clone());
                Some(Place { image: here.image, after: end })
            } else if all {
                match past.next_place(&prefix, Some(&here.image)) {
                    Some(next) => Some(next),
                    None => break false,
                }
            } else {
                Some(Place { image: here.image, after: last })
            };
        };
        let next_page_token = place.filter(|_| more).map(|place| place.text()).unwrap_or_default();
        let tags = past.whereabouts(found, at).map_err(|error| errors::past(&error))?;
        Ok(v1::WhereResponse { tags, next_page_token })
    }
}

/// Where a span stands among those of its image: what lasts comes last.
fn order(span: &Span) -> (&StreamKey, &TagName, u64) {
    (&span.stream, &span.tag, if span.lasts() { u64::MAX } else { span.since })
}

impl Past {
    /// The first image that is meant, after `after`.
    fn next_place(&self, prefix: &Prefix, after: Option<&Digest>) -> Option<Place> {
        let image = prefix.texts().find_map(|text| self.view.next_image(text, after))?;
        Some(Place { image, after: None })
    }

    /// The spans of an image, its own and those of the indexes that hold it, in order, at most `limit`.
    fn spans(&self, place: &Place, within: Within<'_>, limit: usize) -> Vec<Found> {
        let Place { image, after } = place;
        let spans_of = |index: Option<Digest>| {
            let spans = self.view.spans(index.as_ref().unwrap_or(image), within, after.as_ref(), limit);
            spans.into_iter().map(move |span| Found { index: index.clone(), span })
        };
        let indexes = self.view.indexes_of(image).into_iter().map(Some);
        let mut found: Vec<Found> = std::iter::once(None).chain(indexes).flat_map(spans_of).collect();
        found.sort_by(|one, other| order(&one.span).cmp(&order(&other.span)));
        found.truncate(limit);
        found
    }

    /// What is shown of them, as it was at a moment: what ended later still lasted.
    fn whereabouts(
        &self,
        mut found: Vec<(Digest, Found)>,
        at: Option<u64>,
    ) -> Result<Vec<v1::Whereabouts>, PastError> {
        for (_, Found { span, .. }) in &mut found {
            if at.is_some_and(|at| span.until > at) {
                span.until = 0;
            }
        }
        let mut sequences: Vec<u64> =
            found.iter().flat_map(|(_, found)| [found.span.since, found.span.until]).collect();
        sequences.sort_unstable();
        sequences.dedup();
        sequences.retain(|sequence| *sequence != 0);
        let events = self.told(&sequences)?;
        let times: BTreeMap<u64, _> =
            events.into_iter().map(|event| (event.sequence, event.recorded_at)).collect();
        let time = |sequence: u64| times.get(&sequence).copied().flatten();
        let whereabouts = |(image, Found { index, span }): (Digest, Found)| v1::Whereabouts {
            namespace: span.stream.namespace.to_string(),
            stream: span.stream.name.to_string(),
            tag: span.tag.to_string(),
            digest: image.to_string(),
            index: index.map(|index| index.to_string()).unwrap_or_default(),
            since_sequence: span.since,
            since: time(span.since),
            until_sequence: span.until,
            until: time(span.until),
        };
        Ok(found.into_iter().map(whereabouts).collect())
    }
}

impl Place {
    /// As a page token: the image, and a span of it by its place in the order.
    fn text(&self) -> String {
        match &self.after {
            None => self.image.to_string(),
            Some(span) => {
                let (stream, tag, since) = order(span);
                format!("{}/{stream}/{tag}/{since}", self.image)
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let image = Digest::parse(parts.next()?).ok()?;
        let Some(namespace) = parts.next() else { return Some(Self { image, after: None }) };
        let stream = StreamKey::parse(namespace, parts.next()?).ok()?;
        let tag = TagName::parse(parts.next()?).ok()?;
        let since: u64 = parts.next()?.parse().ok()?;
        // Only its place matters: the end of a span that does not last is any.
        let (since, until) = if since == u64::MAX { (0, 0) } else { (since, u64::MAX) };
        let span = Span { image: image.clone(), stream, tag, since, until };
        parts.next().is_none().then_some(Self { image, after: Some(span) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_is_a_place() {
        let image = format!("sha256:{}", "a".repeat(64));
        let check = |rest: &str, valid: bool| {
            let text = format!("{image}{rest}");
            assert_eq!(Place::parse(&text).map(|place| place.text()), valid.then_some(text));
        };
        check("", true);
        check("/shop/web/prod/17", true);
        check(&format!("/shop/web/prod/{}", u64::MAX), true);
        check("/shop/web/prod", false);
        check("/shop/web/prod/17/", false);
        check("/shop/web/prod/x", false);
        check("/SHOP/web/prod/17", false);
        check("0", false);
    }
}
