//! Where to go on: what the stream holds, what was remembered, and how far the log is, as one decision, which is pure.

use std::sync::Arc;

use tagtrail_event_log::Log;

use crate::Trouble;
use crate::message::{Form, Seen, read_page};
use crate::position::Position;
use crate::settings::StreamSettings;
use crate::stream::Taken;

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The newest message, an event of this log. `None`: the stream holds none.
    pub(crate) newest: Option<Seen>,
    /// The place of the last message there ever was. 0: the stream is new.
    pub(crate) last_place: u64,
    /// When the stream was created.
    pub(crate) created: String,
    /// What our own event of the newest message's number would look like there. `None`: we have no such event.
    pub(crate) ours: Option<Seen>,
    /// What was remembered here.
    pub(crate) remembered: Option<Position>,
    /// The newest event of the log.
    pub(crate) head: u64,
}

/// Where to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resume {
    /// Everything up to this event is in the stream, or was.
    pub(crate) published: u64,
    /// The place of the last message.
    pub(crate) last_place: u64,
    /// How many events the broker had acknowledged and no longer has.
    pub(crate) lost: u64,
}

/// Compares what the stream holds with the log, and decides where to go on.
pub(crate) fn look(
    log: &Arc<dyn Log>,
    form: &Form,
    settings: &StreamSettings,
    taken: &Taken,
    remembered: Option<Position>,
) -> Result<Resume, Trouble> {
    let head = log.head();
    let ours = match &taken.newest {
        Some(newest) if (1..=head).contains(&newest.event) => {
            let stored = read_page(&**log, newest.event, 1)?;
            Some(Seen::expected(newest.place, &form.message(&stored[0])?))
        }
        _ => None,
    };
    let (newest, last_place, created) = (taken.newest.clone(), taken.last_place, taken.created());
    let found = Found { newest, last_place, created, ours, remembered, head };
    decide(settings, &found)
}

/// Decides where to go on. Refuses where to go on would mix two histories.
pub(crate) fn decide(settings: &StreamSettings, found: &Found) -> Result<Resume, Trouble> {
    let stream = &settings.name;
    let last_place = found.last_place;
    let remembered = found.remembered.as_ref();
    if let Some(newest) = &found.newest {
        if newest.event > found.head {
            return Err(Trouble::Refused(format!(
                "the stream {stream} ends with event {} of this log, and the log itself with {}: an older copy of the data \
                 directory was put back, or a second server publishes the same log; put the newer data directory back, or delete \
                 the stream to have it filled from this log",
                newest.event, found.head
            )));
        }
        if found.ours.as_ref() != Some(newest) {
            return Err(Trouble::Refused(format!(
                "the stream {stream} holds another event {} than this log: two servers went on from copies of one data \
                 directory; end the wrong one, and delete the stream to have it filled from this log",
                newest.event
            )));
        }
        let same = |position: &&Position| position.created == found.created && position.place >= newest.place;
        let known = remembered.filter(same).map_or(0, |position| position.event);
        return Ok(Resume { published: newest.event, last_place, lost: known.saturating_sub(newest.event) });
    }
    // It has nothing left to tell by.
    let Some(position) = remembered else { return Ok(Resume { published: 0, last_place, lost: 0 }) };
    let older_copy = |event: u64| {
        Err(Trouble::Refused(format!(
            "event {event} of this log was published to the stream {stream}, and the log itself ends with {}: an older copy of the \
             data directory was put back; put the newer one back, or delete the stream and the file `published` in the data \
             directory to have a new stream filled from this log",
            found.head
        )))
    };
    if position.event > found.head {
        return older_copy(position.event);
    }
    if position.created != found.created || position.place > last_place {
        if !settings.rebuild_lost {
            return Err(Trouble::Refused(format!(
                "the stream {stream} was lost or emptied: {} events had been published to it; set nats.rebuild_lost_stream = true \
                 to have it filled from the log again",
                position.event
            )));
        }
        return Ok(Resume { published: 0, last_place, lost: position.event });
    }
    // Its messages grew too old, all of them. What was stored after the position is remembered no more: sent again, it is a
    // repeat under the same id. More than the log has, it was no event of this log as it is now.
    let stored = position.event + (last_place - position.place);
    if stored > found.head {
        return older_copy(stored);
    }
    Ok(Resume { published: position.event, last_place, lost: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(place: u64, event: u64, time: &str) -> Seen {
        Seen {
            place,
            source: "/tagtrail/logs/07".into(),
            event,
            subject: "x.events.a.b.-.stream-created".into(),
            mark: ["a/b".into(), String::new(), time.into()],
        }
    }

    fn position(event: u64, place: u64) -> Position {
        Position { log: "07".into(), stream: "TAGTRAIL".into(), created: "c".into(), event, place }
    }

    /// `stream`: place and event of the newest message; `last`: the last place there ever was.
    fn check(
        stream: Option<(u64, u64)>,
        last: u64,
        remembered: Option<(u64, u64)>,
        head: u64,
        expected: Result<(u64, u64), &str>,
    ) {
        let newest = stream.map(|(place, event)| seen(place, event, "t"));
        let found = Found {
            ours: newest.clone().filter(|newest| newest.event <= head),
            newest,
            last_place: last,
            created: "c".into(),
            remembered: remembered.map(|(event, place)| position(event, place)),
            head,
        };
        let settings = StreamSettings::default();
        match (decide(&settings, &found), expected) {
            (Ok(resume), Ok((published, lost))) => {
                assert_eq!((resume.published, resume.lost), (published, lost), "{found:?}");
                assert_eq!(resume.last_place, last);
            }
            (Err(Trouble::Refused(said)), Err(part)) => assert!(said.contains(part), "{said}"),
            (other, expected) => panic!("{other:?}, not {expected:?}: {found:?}"),
        }
    }

    #[test]
    fn where_it_goes_on() {
        //    newest message   last  remembered    head  published, lost
        check(None, 0, None, 9, Ok((0, 0))); // A beginning.
        check(Some((5, 5)), 5, None, 9, Ok((5, 0)));
        check(Some((5, 5)), 5, Some((5, 5)), 9, Ok((5, 0)));
        check(Some((5, 5)), 5, Some((3, 3)), 9, Ok((5, 0))); // Killed before it could remember.
        check(Some((5, 5)), 5, Some((8, 8)), 9, Ok((5, 3))); // The broker lost its end.
        check(Some((14, 5)), 14, Some((8, 8)), 9, Ok((5, 0))); // Lost, filled again, and on the way.
        check(None, 5, Some((5, 5)), 9, Ok((5, 0))); // All of it grew too old.
        check(None, 7, Some((5, 5)), 9, Ok((5, 0))); // The same, and not all remembered.
        check(None, 5, None, 9, Ok((0, 0))); // Better twice than not at all.
        check(None, 0, Some((5, 5)), 9, Ok((0, 5))); // The stream was lost.
        check(None, 3, Some((5, 5)), 9, Ok((0, 5))); // Lost, made again, and emptied.
        check(Some((12, 12)), 12, None, 9, Err("the log itself with 9"));
        check(None, 12, Some((12, 12)), 9, Err("the log itself ends with 9")); // An older copy of the log.
        check(None, 15, Some((8, 8)), 9, Err("event 15 of this log was published")); // And of the file.
    }

    #[test]
    fn a_lost_stream_can_be_left_for_somebody_to_look_at() {
        let settings = StreamSettings { rebuild_lost: false, ..StreamSettings::default() };
        let (created, remembered) = ("c".to_owned(), Some(position(5, 5)));
        let found = Found { newest: None, last_place: 0, created, ours: None, remembered, head: 9 };
        let said = decide(&settings, &found).expect_err("refused").to_string();
        assert!(said.starts_with("the stream TAGTRAIL was lost or emptied: 5 events had been"), "{said}");
        let new = Found { remembered: None, ..found };
        assert!(decide(&settings, &new).is_ok(), "a new stream is no lost one");
    }

    /// Made again by hand, its places going on: what was remembered is of another stream.
    #[test]
    fn a_stream_of_the_same_name_is_another_one() {
        let created = "later".to_owned();
        let remembered = Some(position(5, 5));
        let found = Found { newest: None, last_place: 7, created, ours: None, remembered, head: 9 };
        let resume = decide(&StreamSettings::default(), &found).expect("goes on");
        assert_eq!((resume.published, resume.lost), (0, 5));
    }

    #[test]
    fn two_histories_are_not_mixed() {
        let newest = Some(seen(5, 5, "t"));
        let ours = Some(seen(5, 5, "u"));
        let created = "c".to_owned();
        let found = Found { newest, last_place: 5, created, ours, remembered: None, head: 9 };
        let said = decide(&StreamSettings::default(), &found).expect_err("refused").to_string();
        assert!(said.contains("holds another event 5 than this log"), "{said}");
    }
}
