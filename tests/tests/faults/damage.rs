//! A byte changed and an end cut off, in each file of a data directory at rest. Whoever starts a server on it hears of it, or it
//! makes no difference, or it is mended: no answer is ever another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tagtrail_api::v1::admin_service_client::AdminServiceClient;
use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::image_service_client::ImageServiceClient;
use tagtrail_api::v1::{
    Event, GetImageRequest, GetStatusRequest, Image, ReadEventsRequest, RebuildViewRequest,
};
use tagtrail_tests::chance::Chance;
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;
use tokio::runtime::Runtime;

use crate::world::World;
use crate::{from_environment, say};

/// Much longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// What became of a damaged directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    /// It does not start, and names the file or the event.
    Refused,
    /// It serves what there is, and says what is wrong.
    Told,
    /// It serves, as if nothing had happened.
    Harmless,
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(u64),
    Truncate(u64),
    Remove,
}

/// `TAGTRAIL_FAULT_BYTES=40` for more places in each file.
#[test]
fn f05_bytes_of_every_file() {
    let mut world = World::start(Options::default());
    world.write_for(Duration::from_millis(400));
    world.check("a good start");
    world.server.terminate().expect("it ends");
    // Once more, so that sled has every file that it ever has.
    world.server.restart().expect("it starts");
    let runtime = Runtime::new().expect("a runtime");
    let images = runtime.block_on(images(&world, &world.server.url()));
    assert!(images.iter().all(Result::is_ok), "{images:?}");
    world.server.terminate().expect("it ends");
    let good = world.server.data();
    let files = files(&good);
    let places = u64::from(from_environment("TAGTRAIL_FAULT_BYTES", 1));
    let mut chance = Chance(5);
    let mut fates: BTreeMap<(String, Fate), u32> = BTreeMap::new();
    for file in &files {
        let length = fs::metadata(good.join(file)).expect("a file").len();
        let mut damages = vec![Damage::Remove, Damage::Truncate(0)];
        for _ in 0..places {
            if length > 0 {
                damages.push(Damage::Flip(chance.below(length)));
                damages.push(Damage::Truncate(chance.below(length)));
            }
        }
        for damage in damages {
            let fate = judge(&runtime, &world, &images, file, damage);
            *fates.entry((kind(file), fate)).or_default() += 1;
        }
    }
    for ((file, fate), times) in &fates {
        say(&format!("f05: {file}: {fate:?} {times} times"));
    }
    // A journal that is damaged beside a whole copy is mended, and that is told.
    assert!(fates.contains_key(&("journal".into(), Fate::Told)), "{fates:?}");
    let kinds: BTreeSet<&str> = fates.keys().map(|(kind, _)| kind.as_str()).collect();
    let all = "FORMAT LOCK blobs checkpoint journal log log.key published reserve tree view";
    assert_eq!(kinds, all.split(' ').collect(), "a file of the data directory is left out");
}

/// Starts a server on a damaged copy and looks at all that it answers.
fn judge(runtime: &Runtime, world: &World, images: &[Shown], file: &Path, damage: Damage) -> Fate {
    let good = &world.server.data();
    let what = format!("{damage:?} of {}", file.display());
    let files = tempfile::tempdir().expect("a directory");
    let data = files.path().join("data");
    copy(good, &data);
    // What was signed last is kept in a second place beside the directory.
    let beside = |data: &Path| data.with_extension("checkpoint");
    if beside(good).exists() {
        fs::copy(beside(good), beside(&data)).expect("a copy");
    }
    harm(&data.join(file), damage);
    let nats = format!("[nats]\nurl = \"{}\"\n", world.broker.url());
    let config = format!("[repository]\ninternal = \"registry.example\"\n{nats}");
    let server = match Server::start(Options { config, data_dir: Some(data), ..Options::default() }) {
        Ok(server) => server,
        Err(error) => {
            let said = format!("{error:#}");
            assert!(said.contains("ended with exit status: 1"), "{what}: {said}");
            assert!(
                said.contains("\nerror: ") || said.contains("Error"),
                "{what}: it does not say why: {said}"
            );
            return Fate::Refused;
        }
    };
    let known = world.events();
    let (events, findings, problem, differences) = runtime.block_on(look(&server.url()));
    let shown = runtime.block_on(self::images(world, &server.url()));
    let hidden = shown.iter().filter(|shown| shown.is_err()).count();
    let same = shown.iter().zip(images).all(|(one, other)| one.is_err() || one == other);
    assert!(same, "{what}: another image is shown");
    let told = !findings.is_empty() || !problem.is_empty() || hidden > 0;
    if kind(file) == "published" {
        let up_to = wait::until(SOON, || runtime.block_on(published(&server.url())));
        assert_eq!(up_to, Some(known.len() as u64), "{what}");
    }
    assert_eq!(differences, Vec::<String>::new(), "{what}");
    assert!(events.iter().zip(known).all(|(one, other)| one == other), "{what}: another event is served");
    assert!(events.len() <= known.len(), "{what}: more events than there were");
    // Fewer are never served without a word.
    assert!(
        events.len() == known.len() || !problem.is_empty(),
        "{what}: events are missing, and nothing is said"
    );
    if told { Fate::Told } else { Fate::Harmless }
}

async fn look(url: &str) -> (Vec<Event>, Vec<String>, String, Vec<String>) {
    let mut client = EventServiceClient::connect(url.to_owned()).await.expect("it serves");
    let mut events = Vec::new();
    loop {
        let from_sequence = events.len() as u64 + 1;
        let request = ReadEventsRequest { from_sequence, ..ReadEventsRequest::default() };
        let page = client.read_events(request).await.expect("the log can be read").into_inner();
        events.extend(page.events);
        if page.next_sequence > page.head {
            break;
        }
    }
    let mut admin = AdminServiceClient::connect(url.to_owned()).await.expect("it serves");
    let status = admin.get_status(GetStatusRequest {}).await.expect("a status").into_inner();
    let compared = admin.rebuild_view(RebuildViewRequest { verify: true }).await.expect("a comparison");
    let problem = status.audit.map(|audit| audit.problem).unwrap_or_default();
    (events, status.findings, problem, compared.into_inner().differences)
}

/// An image as it is shown, or why it is not.
type Shown = Result<Option<Image>, String>;

async fn images(world: &World, url: &str) -> Vec<Shown> {
    let mut client = ImageServiceClient::connect(url.to_owned()).await.expect("it serves");
    let mut shown = Vec::new();
    for digest in world.images() {
        let request = GetImageRequest { digest: digest.clone(), include_manifest: true };
        let answer = client.get_image(request).await;
        shown.push(answer.map(|answer| answer.into_inner().image).map_err(|status| status.to_string()));
    }
    shown
}

/// Up to where events were published, if that is all of them.
async fn published(url: &str) -> Option<u64> {
    let mut admin = AdminServiceClient::connect(url.to_owned()).await.expect("it serves");
    let status = admin.get_status(GetStatusRequest {}).await.expect("a status").into_inner();
    status.published.filter(|published| *published == status.head)
}

/// The first part of a file's path: `journal`, `tree`, `FORMAT`.
fn kind(file: &Path) -> String {
    file.iter().next().unwrap_or_default().to_string_lossy().into_owned()
}

/// All files of a directory; of the many that are alike, three.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        let mut here = Vec::new();
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { directories.push(path) } else { here.push(path) }
        }
        here.sort();
        if next != directory && here.len() > 6 {
            here.truncate(3);
        }
        found.extend(here.into_iter().map(|path| path.strip_prefix(directory).expect("in it").to_owned()));
    }
    found.sort();
    found
}

fn harm(path: &Path, damage: Damage) {
    match damage {
        Damage::Remove => fs::remove_file(path).expect("it is there"),
        Damage::Truncate(length) => {
            let file = fs::File::options().write(true).open(path).expect("it is there");
            file.set_len(length).expect("it can be cut off");
        }
        Damage::Flip(at) => {
            let mut bytes = fs::read(path).expect("it is there");
            bytes[at as usize] ^= 1 << (at % 8);
            fs::write(path, bytes).expect("it can be written");
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}
