//! One watcher: where it is, and what it is handed next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tagtrail_api::v1;
use tagtrail_api::v1::watch_response::Answer;
use tokio::sync::watch;

use super::filter::{Begin, Wish};
use super::pace::Pace;
use super::reading::{Listed, PAGE, PAGE_BYTES, Page, Reader, Rest, Sieve, Then};
use super::tail::Told;
use super::{End, Watches};
use crate::past::PastError;

/// One watcher.
pub(crate) struct Watcher {
    shared: Watches,
    wish: Arc<Wish>,
    pace: Pace,
    position: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    stage: Stage,
    /// What it will be handed, as far as that is known.
    page: VecDeque<Arc<Told>>,
    /// Since when the page is there. `None`: it was in memory all the time.
    read: Option<Instant>,
    /// Up to where the page is all there is to be handed.
    up_to: u64,
    /// Everything up to here was handed over or is not asked for.
    settled: u64,
    /// The stream that was told of last, while it reads what is older than the tail.
    then: Option<Then>,
    _counted: Counted,
}

enum Stage {
    /// It is to hear where now is.
    Greeting,
    /// It is handed the streams of one moment.
    Listing(Listed),
    /// It is handed what happens.
    Following,
}

/// An answer, and since when it has been there to be taken.
struct Found {
    answer: Answer,
    /// Since this event came.
    event: Option<u64>,
    /// And not before. Neither: since before the answer ahead of it.
    since: Option<Instant>,
}

impl Watcher {
    pub(super) fn new(shared: Watches, wish: Wish) -> Self {
        let position = shared.tail.follow();
        let now = *position.borrow();
        let (stage, settled) = match wish.begin {
            Begin::After(sequence) => (Stage::Following, sequence),
            Begin::Now => (Stage::Greeting, now),
            // A position is always the end of a command.
            Begin::Snapshot => {
                let listed = Listed { streams: VecDeque::new(), rest: Rest::All };
                (Stage::Listing(listed), now)
            }
        };
        Self {
            pace: Pace::new(shared.patience, wish.bookmarks, Instant::now()),
            stopped: shared.stopped.clone(),
            position,
            stage,
            page: VecDeque::new(),
            read: None,
            up_to: settled,
            settled,
            then: None,
            shared,
            wish: Arc::new(wish),
            _counted: Counted::new(),
        }
    }

    /// Waits for the next answer. To be called again only when that was taken, and no more after an end.
    ///
    /// # Errors
    /// [`End`]
    pub(crate) async fn next(&mut self) -> Result<v1::WatchResponse, End> {
        // It changes once. Looking at the value would lock what all watchers share, for each answer.
        if self.stopped.has_changed().unwrap_or(true) {
            return Err(self.stopping());
        }
        let Found { answer, event, since } = self.find().await?;
        let ready = || event.and_then(|sequence| self.shared.tail.came(sequence)).max(since);
        if !self.pace.hand_over(ready, Instant::now()) {
            crate::metrics::watcher_cut_off();
            return Err(End::Slow { after: self.resume(), patience: self.shared.patience });
        }
        match &answer {
            Answer::Event(event) => self.settled = event.sequence,
            Answer::Stream(stream) => self.settled = stream.sequence,
            Answer::Bookmark(_) if matches!(self.stage, Stage::Following) => {}
            // The first one: of now, or of the snapshot that is complete with it.
            Answer::Bookmark(_) => self.stage = Stage::Following,
        }
        Ok(v1::WatchResponse { answer: Some(answer) })
    }

    /// From where the watch can be resumed. `None`: it has to begin anew.
    fn resume(&self) -> Option<u64> {
        (!matches!(self.stage, Stage::Listing(_))).then_some(self.settled)
    }

    async fn find(&mut self) -> Result<Found, End> {
        match &mut self.stage {
            Stage::Greeting => Ok(self.bookmark(false, None)),
            Stage::Listing(_) => self.list().await,
            Stage::Following => self.follow().await,
        }
    }

    /// The next stream of the snapshot, and at its end the bookmark that closes it.
    async fn list(&mut self) -> Result<Found, End> {
        while let Stage::Listing(listed) = &mut self.stage {
            if let Some(stream) = listed.streams.pop_front() {
                let change = v1::StreamChange::Listed.into();
                let told = v1::WatchedStream { change, stream: Some(stream), sequence: self.settled };
                return Ok(Found { answer: Answer::Stream(told), event: None, since: self.read });
            }
            if matches!(listed.rest, Rest::None) {
                break;
            }
            let (rest, position) = (listed.rest.clone(), self.settled);
            let next = self.read(move |reader, wish| reader.list(wish, position, rest)).await?;
            self.stage = Stage::Listing(next);
        }
        Ok(self.bookmark(true, self.read))
    }

    /// The next thing that happens, or that nothing does.
    async fn follow(&mut self) -> Result<Found, End> {
        loop {
            while let Some(told) = self.page.pop_front() {
                let event = Some(told.event.sequence);
                if !self.wish.streams {
                    let answer = Answer::Event(told.event.as_ref().clone());
                    return Ok(Found { answer, event, since: self.read });
                }
                match self.after_command(&told).await? {
                    (Some(stream), _) => {
                        return Ok(Found { answer: Answer::Stream(stream), event, since: self.read });
                    }
                    (None, last) => self.settled = last,
                }
            }
            self.settled = self.settled.max(self.up_to);
            let due = self.pace.due();
            if due <= Instant::now() {
                return Ok(self.bookmark(false, Some(due)));
            }
            let settled = self.settled;
            if *self.position.borrow_and_update() > settled {
                self.turn_page().await?;
                continue;
            }
            // Neither of the two that are followed ends before those who share it.
            let stopping = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => true,
                _ = self.position.wait_for(|position| *position > settled) => false,
                () = tokio::time::sleep_until(due.into()) => false,
            };
            if stopping {
                return Err(self.stopping());
            }
        }
    }

    /// Takes the next events from memory, or reads them where it is further behind.
    async fn turn_page(&mut self) -> Result<(), End> {
        let wish = self.wish.clone();
        let mut sieve = Sieve::new(&wish, self.settled);
        if let Some(events) = self.shared.tail.after(self.settled, PAGE, PAGE_BYTES) {
            for told in events {
                sieve.look_at(told);
                if sieve.is_full() {
                    break;
                }
            }
            self.read = None;
            self.take(sieve.end());
            return Ok(());
        }
        let (after, until) = (self.settled, *self.position.borrow());
        let page = self.read(move |reader, wish| reader.events(wish, after, until)).await?;
        self.take(page);
        Ok(())
    }

    fn take(&mut self, page: Page) {
        (self.page, self.up_to) = (page.told, page.up_to);
    }

    /// The stream that a command has changed, if there is something to tell of it, and the last event of that change.
    async fn after_command(&mut self, told: &Arc<Told>) -> Result<(Option<v1::WatchedStream>, u64), End> {
        let then = self.then.take();
        let after = if Reader::is_at_hand(&self.wish, told) {
            self.shared.reader.after_command(&self.wish, told, then)?
        } else {
            let told = told.clone();
            self.read(move |reader, wish| reader.after_command(wish, &told, then)).await?
        };
        self.then = after.then;
        Ok((after.told, after.last))
    }

    /// Reads what only the disk knows.
    async fn read<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Reader, &Wish) -> Result<T, PastError> + Send + 'static,
    ) -> Result<T, End> {
        let (reader, wish) = (self.shared.reader.clone(), self.wish.clone());
        let reading = reader.read(move |reader| work(reader, &wish));
        let read = tokio::select! {
            biased;
            _ = self.stopped.wait_for(|stopped| *stopped) => None,
            read = reading => Some(read?),
        };
        let (read, at) = read.ok_or_else(|| self.stopping())?;
        self.read = Some(at);
        Ok(read)
    }

    fn bookmark(&self, snapshot_end: bool, since: Option<Instant>) -> Found {
        let bookmark = v1::Bookmark { sequence: self.settled, snapshot_end };
        Found { answer: Answer::Bookmark(bookmark), event: None, since }
    }

    fn stopping(&self) -> End {
        End::Stopping { after: self.resume() }
    }
}

/// One of those that watch.
struct Counted;

impl Counted {
    fn new() -> Self {
        crate::metrics::watchers(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        crate::metrics::watchers(-1.0);
    }
}
