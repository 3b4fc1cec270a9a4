//! Something that is kept up to the log over one connection: looked at, kept up until something breaks, and looked at again.

use std::time::Duration;

use tokio::sync::watch;

use crate::Trouble;
use crate::link::Link;

/// After which time it is tried again: at first, and at most, twice as long after each failure in a row.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// After which time a stream that was refused is looked at again: somebody may have changed something.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// After which time without anything to send it is made sure that the stream is still what it was.
pub(crate) const IDLE_LOOK: Duration = Duration::from_secs(10);

/// Something that is kept up to the log over one connection.
pub(crate) trait KeptUp: Sync {
    /// Keeps it up until it is time to stop. Notes in `moved` whether it came further.
    fn session(
        &self,
        stop: watch::Receiver<bool>,
        moved: &mut bool,
    ) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Tells why a session ended.
    fn trouble(&self, trouble: &Trouble);
}

/// Holds session after session until it is time to stop.
pub(crate) async fn keep_trying(link: &Link, kept_up: &impl KeptUp, stop: &mut watch::Receiver<bool>) {
    let mut again = AGAIN.0;
    loop {
        tokio::select! {
            () = link.up() => {}
            () = turned_true(stop) => return,
        }
        let mut moved = false;
        let Err(trouble) = kept_up.session(stop.clone(), &mut moved).await else { return };
        kept_up.trouble(&trouble);
        if moved {
            again = AGAIN.0; // What was going well is taken up at once.
        }
        let wait = match trouble {
            Trouble::Refused(_) => LOOK_AGAIN,
            Trouble::Broken(_) => again,
        };
        again = (again * 2).min(AGAIN.1);
        if pause(wait, stop).await {
            return;
        }
    }
}

/// Waits. True: it is time to stop.
pub(crate) async fn pause(time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(time, turned_true(stop)).await.is_ok()
}

/// Waits until it is time to stop. That nobody can tell any more is as good as being told.
pub(crate) async fn turned_true(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}
