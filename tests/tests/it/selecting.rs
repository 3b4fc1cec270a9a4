//! Which objects `get` shows and `delete` deletes, and how a deletion is only tried.

use tagtrail_tests::server::{Options, Server};

const KIND: &str = "imagestream.image.openshift.io";

/// Says what a command is to print on both streams, and how it is to end.
struct Check(Server);

impl Check {
    fn with(streams: &[&str]) -> Self {
        let server = Server::start(Options::default()).expect("the server starts");
        for stream in streams {
            let printed = server.client().run(&["create", "imagestream", stream]).expect("tagtrail");
            assert_eq!(printed.rc, 0, "{printed:?}");
        }
        Self(server)
    }

    fn check(&self, command: &str, rc: i32, stdout: &str, stderr: &str) {
        let words: Vec<&str> = command.split(' ').collect();
        let printed = self.0.client().run(&words).expect("tagtrail");
        let got = (printed.rc, &*printed.stdout, &*printed.stderr);
        assert_eq!(got, (rc, stdout, stderr), "{command}");
    }
}

#[test]
fn objects_are_selected_by_field() {
    let on = Check::with(&["app", "web"]);
    let (app, web) = (format!("{KIND}/app\n"), format!("{KIND}/web\n"));
    let both = format!("{app}{web}");
    on.check("get is -o name --field-selector metadata.name=app", 0, &app, "");
    on.check("get is -o name --field-selector=metadata.name!=app", 0, &web, "");
    on.check("get is -o name --field-selector metadata.namespace=test", 0, &both, "");
    on.check("get is -o name --field-selector metadata.name=none", 0, "", "");
    on.check("get is --field-selector metadata.name=none", 0, "", "No resources found in test namespace.\n");
    let both_ways = "error: name cannot be provided when a selector is specified\n";
    on.check("get is app --field-selector metadata.name=app", 1, "", both_ways);
    on.check("delete is app --field-selector metadata.name=app", 1, "", both_ways);
    on.check(
        "delete is --field-selector metadata.name=app",
        0,
        &format!("{KIND} \"app\" deleted from test namespace\n"),
        "",
    );
    on.check("get is -o name", 0, &web, "");
}

#[test]
fn what_is_not_there_can_be_passed_over() {
    let on = Check::with(&["app"]);
    let missing = "Error from server (NotFound): imagestreams.image.openshift.io \"none\" not found\n";
    on.check("get is none --ignore-not-found", 0, "", "");
    on.check("get is none --ignore-not-found -o json", 0, "", "");
    on.check("get is none app --ignore-not-found -o name", 0, &format!("{KIND}/app\n"), "");
    on.check("get is none app -o name", 1, &format!("{KIND}/app\n"), missing);
    on.check("delete is none", 1, "", missing);
    on.check("delete is none --ignore-not-found", 0, "", "");
    on.check("get is -o jsonpath={.items} -l no=label --ignore-not-found", 0, "", "");
    on.check("get is -o jsonpath={.items} -l no=label", 0, "[]", "");
}

#[test]
fn a_dry_run_deletes_nothing() {
    let on = Check::with(&["app"]);
    let says = |remark: &str| format!("{KIND} \"app\" deleted{remark} from test namespace\n");
    on.check("delete is app --dry-run=client", 0, &says(" (dry run)"), "");
    on.check("delete is app --dry-run=server", 0, &says(" (server dry run)"), "");
    on.check("delete is app --dry-run=client -o name", 0, &format!("{KIND}/app\n"), "");
    on.check("delete is --all --dry-run=server", 0, &says(" (server dry run)"), "");
    let missing = "Error from server (NotFound): imagestreams.image.openshift.io \"none\" not found\n";
    on.check("delete is none --dry-run=server", 1, "", missing);
    let value = "error: Invalid dry-run value (x). Must be \"none\", \"server\", or \"client\".\n";
    on.check("delete is app --dry-run=x", 1, "", value);
    let mode = "error: unexpected -o output mode: json. We only support '-o name'\n";
    on.check("delete is app -o json", 1, "", mode);
    on.check("get is -o name", 0, &format!("{KIND}/app\n"), "");
    on.check("delete is app --dry-run=none", 0, &says(""), "");
    on.check("get is -o name", 0, "", "");
}

#[test]
fn flags_that_change_nothing_here_are_taken() {
    let on = Check::with(&["app"]);
    let app = format!("{KIND}/app\n");
    on.check("get is -o name --show-managed-fields --chunk-size=0", 0, &app, "");
    on.check("get is -o name --chunk-size 500 --allow-missing-template-keys", 0, &app, "");
    on.check(
        "get is --show-kind --no-headers -L team",
        0,
        &format!("{KIND}/app   {}{}\n", on.repository("app"), " ".repeat(15)),
        "",
    );
    let printed = on.0.client().run(&["get", "is", "--chunk-size=x"]).expect("tagtrail");
    assert!(
        printed.stderr.starts_with("error: invalid argument \"x\" for \"--chunk-size\" flag"),
        "{printed:?}"
    );
}

impl Check {
    /// Where the server says that a stream's images are.
    fn repository(&self, stream: &str) -> String {
        let printed = self.0.client().json(&["get", "is", stream, "-o", "json"]).expect("a stream");
        let status = &printed["status"];
        let public = status["publicDockerImageRepository"].as_str();
        public.or_else(|| status["dockerImageRepository"].as_str()).unwrap_or_default().to_owned()
    }
}
