//! The grammar of the command line. Flags may stand anywhere; what is given twice counts once, the last time.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tagtrail_api::v1::WriteOptions;

use crate::commands::{
    admin, annotate, audit, bisect, completion, create, delete, describe, diff, events, get, history, hold,
    import_image, import_openshift, label, project, promote, restore, rollback, serve, set, status, tag,
    version, watch, whereabouts, why,
};
use crate::config::{self, ClientFile};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::flags;

/// Where the server is, if nobody says.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7400";
/// The namespace that is meant, if nobody says.
const DEFAULT_NAMESPACE: &str = "default";

#[derive(Parser)]
#[command(
    name = "tagtrail",
    version,
    about = "Image streams that remember: every image a tag has pointed to, and how to go back.",
    args_override_self = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// The server to ask [default: http://127.0.0.1:7400]
    #[arg(long, global = true, env = "TAGTRAIL_SERVER", hide_env_values = true, value_name = "URL")]
    server: Option<String>,
    /// The namespace to act in [default: default]
    #[arg(
        short,
        long,
        global = true,
        env = "TAGTRAIL_NAMESPACE",
        hide_env_values = true,
        value_name = "NAME"
    )]
    namespace: Option<String>,
    /// Whether the namespace was typed, and not found in the environment.
    #[arg(skip)]
    namespace_typed: bool,
    /// Who asks, as it is to be remembered [default: user@host]
    #[arg(long = "as", global = true, env = "TAGTRAIL_ACTOR", hide_env_values = true, value_name = "NAME")]
    actor: Option<String>,
    /// Why, as it is to be remembered
    #[arg(long, global = true, value_name = "TEXT")]
    reason: Option<String>,
    /// An id for this request: given again, it does nothing again and gets the first answer
    #[arg(long, global = true, value_name = "ID")]
    request_id: Option<String>,
    /// Only if the image stream is at this revision (see 'get is -o revision'); 0: only if there is none
    #[arg(long, global = true, value_name = "NUMBER")]
    expect_revision: Option<u64>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Args),
    #[command(flatten)]
    Client(ClientCommand),
}

/// What asks a server.
// A line here would hide what the arguments of a command say of it: those that have more to tell have their line there.
#[derive(Subcommand)]
enum ClientCommand {
    /// Import images from a registry now
    ImportImage(import_image::Args),
    ImportOpenshift(import_openshift::Args),
    /// Point a tag at an image, or delete tags
    Tag(tag::Args),
    Promote(promote::Args),
    Rollback(rollback::Args),
    Hold(hold::HoldArgs),
    Release(hold::ReleaseArgs),
    Restore(restore::Args),
    /// Show objects: is, istag, itag, isimage, image, schedule, secret
    Get(get::Args),
    /// Tell all about objects
    Describe(describe::Args),
    History(history::Args),
    Where(whereabouts::Args),
    Why(why::Args),
    Diff(diff::Args),
    Bisect(bisect::Args),
    /// Delete image streams, tags or secrets
    Delete(delete::Args),
    /// Create an image stream, a tag or a pull secret
    #[command(subcommand)]
    Create(create::Create),
    /// Set a property of an image stream
    #[command(subcommand)]
    Set(set::Set),
    /// Set or remove annotations
    Annotate(annotate::Args),
    /// Set or remove labels
    Label(label::Args),
    /// Show the namespace to act in, or choose another
    Project(project::Args),
    /// Say how the server is
    Status(status::Args),
    /// Read the log of events
    Events(events::Args),
    /// Print events as they happen
    Watch(watch::Args),
    #[command(subcommand)]
    Audit(audit::Audit),
    /// For operators
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Say which version this is, and which the server is
    Version(version::Args),
}

/// Runs the command this process was started with.
pub(crate) fn run() -> ExitCode {
    let result = match parse(env::args_os().collect()) {
        Ok(cli) => execute(cli),
        Err(Unread::Failure(failure)) => Err(failure),
        Err(Unread::Help(text)) => {
            // Help that nobody reads any more is no failure.
            _ = write!(io::stdout(), "{text}");
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            _ = write!(io::stderr(), "{}", failure.text());
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Why words are no command to execute.
enum Unread {
    Help(StyledStr),
    Failure(Failure),
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, Unread> {
    let arguments = flags::help_as_a_flag(arguments);
    let arguments = flags::switches(&Cli::command(), arguments).map_err(Unread::Failure)?;
    let matches = Cli::command().try_get_matches_from(&arguments);
    let read = matches.and_then(|matches| {
        let typed = matches.value_source("namespace") == Some(ValueSource::CommandLine);
        let mut cli = Cli::from_arg_matches(&matches)?;
        cli.global.namespace_typed = typed;
        Ok(cli)
    });
    read.map_err(|error| match error.kind() {
        // A command without the rest of it asks for help, too.
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Unread::Help(error.render()),
        _ => Unread::Failure(undone(flags::mistake(&error, &Cli::command(), &arguments))),
    })
}

/// An audit that was given wrongly found nothing wrong.
fn undone(mistake: Failure) -> Failure {
    match mistake {
        Failure::Usage { ref hint, .. } if hint.starts_with("See 'tagtrail audit") => {
            Failure::Unchecked(Box::new(mistake))
        }
        other => other,
    }
}

fn execute(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    let command = match command {
        Command::Serve(args) => return serve::run(args),
        Command::Client(command) => command,
    };
    let file = match config::path() {
        Some(path) => ClientFile::load(&path).map_err(Failure::client)?,
        None => ClientFile::default(),
    };
    let given = |value: Option<String>| value.filter(|text| !text.is_empty());
    let write = WriteOptions {
        request_id: global.request_id.unwrap_or_default(),
        expected_revision: global.expect_revision,
        reason: global.reason.unwrap_or_default(),
        actor: given(global.actor).unwrap_or_else(context::user_at_host),
    };
    let server = given(global.server).or(file.server).unwrap_or_else(|| DEFAULT_SERVER.into());
    let namespace = given(global.namespace).or(file.namespace).unwrap_or_else(|| DEFAULT_NAMESPACE.into());
    let mut context = Context::new(server, namespace, write);
    context.namespace_typed = global.namespace_typed;
    // Asks no server, or blocks while it does.
    if let ClientCommand::Audit(audit) = command {
        let result = audit::run(audit, &mut context);
        context.flush()?;
        return result;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Output)?;
    let result = runtime.block_on(dispatch(command, &mut context));
    // What was printed belongs before what went wrong.
    context.flush()?;
    result
}

async fn dispatch(command: ClientCommand, context: &mut Context) -> Result<(), Failure> {
    match command {
        ClientCommand::ImportImage(args) => import_image::run(args, context).await,
        ClientCommand::ImportOpenshift(args) => import_openshift::run(args, context).await,
        ClientCommand::Tag(args) => tag::run(args, context).await,
        ClientCommand::Promote(args) => promote::run(args, context).await,
        ClientCommand::Rollback(args) => rollback::run(args, context).await,
        ClientCommand::Hold(args) => hold::hold(args, context).await,
        ClientCommand::Release(args) => hold::release(args, context).await,
        ClientCommand::Restore(args) => restore::run(args, context).await,
        ClientCommand::Get(args) => get::run(args, context).await,
        ClientCommand::Describe(args) => describe::run(args, context).await,
        ClientCommand::History(args) => history::run(args, context).await,
        ClientCommand::Where(args) => whereabouts::run(args, context).await,
        ClientCommand::Why(args) => why::run(args, context).await,
        ClientCommand::Diff(args) => diff::run(args, context).await,
        ClientCommand::Bisect(args) => bisect::run(args, context).await,
        ClientCommand::Delete(args) => delete::run(args, context).await,
        ClientCommand::Create(args) => create::run(args, context).await,
        ClientCommand::Set(args) => set::run(args, context).await,
        ClientCommand::Annotate(args) => annotate::run(args, context).await,
        ClientCommand::Label(args) => label::run(args, context).await,
        ClientCommand::Project(args) => project::run(&args, context),
        ClientCommand::Status(args) => status::run(args, context).await,
        ClientCommand::Events(args) => events::run(args, context).await,
        ClientCommand::Watch(args) => watch::run(args, context).await,
        ClientCommand::Audit(_) => unreachable!("it was run before"),
        ClientCommand::Admin(args) => admin::run(args, context).await,
        ClientCommand::Completion(args) => completion::run(&args, Cli::command(), context),
        ClientCommand::Version(args) => version::run(args, context).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::DryRun;

    fn parse(line: &str) -> Result<Cli, String> {
        super::parse(line.split(' ').map(OsString::from).collect()).map_err(|unread| match unread {
            Unread::Help(text) => text.to_string(),
            Unread::Failure(failure) => failure.text(),
        })
    }

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_anywhere() {
        for line in [
            "tagtrail tag -d app:v1 -n test",
            "tagtrail -n test tag app:v1 app:v2 --alias=true",
            "tagtrail tag --source=docker team/app:2.0 app:v2 --reason x",
            "tagtrail import-image app:dev --scheduled=false",
            "tagtrail get is app -ojson --server http://h:1",
            "tagtrail get is -o json -o yaml",
            "tagtrail create istag app:v8 --from-image=team/app:dev -A note=hi -A who=me",
            "tagtrail annotate is app a=b c-",
            "tagtrail set image-lookup app --enabled=false",
        ] {
            if let Err(text) = parse(line) {
                panic!("{line}: {text}");
            }
        }
    }

    #[test]
    fn a_flag_can_be_turned_off_again() {
        let alias = |line: &str| match parse(line).map(|cli| cli.command) {
            Ok(Command::Client(ClientCommand::Tag(args))) => args.alias,
            _ => panic!("{line}"),
        };
        assert!(alias("tagtrail tag a:1 a:2 --alias"));
        assert!(alias("tagtrail tag a:1 a:2 --alias=T"));
        assert!(!alias("tagtrail tag a:1 a:2 --alias=false"));
        assert!(!alias("tagtrail tag a:1 a:2 --alias --alias=0"));
        assert!(!alias("tagtrail tag a:1 a:2 -- --alias=true"));
    }

    #[test]
    fn lookup_can_be_turned_off() {
        let enabled = |line: &str| match parse(line).map(|cli| cli.command) {
            Ok(Command::Client(ClientCommand::Set(set::Set::ImageLookup(args)))) => args.enabled,
            _ => panic!("{line}"),
        };
        assert!(enabled("tagtrail set image-lookup app"));
        assert!(enabled("tagtrail set image-lookup app --enabled"));
        assert!(!enabled("tagtrail set image-lookup --enabled=false app"));
    }

    #[test]
    fn mistakes_are_told_as_oc_tells_them() {
        let check = |line: &str, message: &str, command: &str| {
            let want = format!("error: {message}\nSee '{command} --help' for usage.\n");
            assert_eq!(parse(line).err().as_deref(), Some(&*want), "{line}");
        };
        check("tagtrail tag --foo a:1 b:1", "unknown flag: --foo", "tagtrail tag");
        check("tagtrail get is -Z", "unknown shorthand flag: 'Z' in -Z", "tagtrail get");
        check("tagtrail foo", "unknown command \"foo\" for \"tagtrail\"", "tagtrail");
        check("tagtrail import-image a --from", "flag needs an argument: --from", "tagtrail import-image");
        check(
            "tagtrail tag a:1 b:1 --alias=maybe",
            "invalid argument \"maybe\" for \"--alias\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            "tagtrail tag",
        );
        check("tagtrail set foo", "unknown command \"foo\" for \"tagtrail set\"", "tagtrail set");
        check(
            "tagtrail events -o yaml",
            "invalid argument \"yaml\" for \"--output\" flag: it is one of json",
            "tagtrail events",
        );
        check(
            "tagtrail completion foo",
            "invalid <SHELL> \"foo\": it is one of bash, elvish, fish, powershell, zsh",
            "tagtrail completion",
        );
        check(
            "tagtrail import-image a --dry-run=client",
            "invalid argument \"client\" for \"--dry-run\" flag: strconv.ParseBool: parsing \"client\": invalid syntax",
            "tagtrail import-image",
        );
    }

    #[test]
    fn a_dry_run_is_asked_for_in_the_words_of_oc() {
        let dry = |line: &str| match parse(line).map(|cli| cli.command) {
            Ok(Command::Client(ClientCommand::Set(set::Set::ImageLookup(args)))) => args.dry_run,
            _ => panic!("{line}"),
        };
        for (word, kind) in [
            (" --dry-run", DryRun::Client),
            (" --dry-run=client", DryRun::Client),
            (" --dry-run=true", DryRun::Client),
            (" --dry-run=server", DryRun::Server),
            (" --dry-run=none", DryRun::No),
            ("", DryRun::No),
        ] {
            assert_eq!(dry(&format!("tagtrail set image-lookup app{word}")), kind, "{word}");
        }
    }

    #[test]
    fn a_namespace_may_be_typed_before_or_behind_the_command() {
        let typed = |line: &str| parse(line).map(|cli| cli.global.namespace_typed);
        assert_eq!(typed("tagtrail where 1e42ab -n prod"), Ok(true));
        assert_eq!(typed("tagtrail -n prod where 1e42ab"), Ok(true));
        assert_eq!(typed("tagtrail where 1e42ab"), Ok(false));
    }

    #[test]
    fn help_tells_more_than_the_list_of_commands() {
        let help = |words: &str| {
            let text = parse(&format!("tagtrail {words}")).err().expect("help");
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let list = help("--help");
        for (command, line, more, moment) in [
            (
                "import-openshift",
                "Take over image streams from OpenShift, with all of their history",
                "a time of its own",
                false,
            ),
            (
                "promote",
                "Point several tags at what others point to: all of them or none",
                "any image streams",
                false,
            ),
            (
                "rollback",
                "Take a tag back to what it has pointed to, and hold it there",
                "one image further back",
                false,
            ),
            ("hold", "Hold a tag where it is", "an alias follows its tag at once", false),
            ("release", "Release tags that are held", "with its next check", false),
            ("restore", "Bring back a deleted tag or image stream", "before it was deleted", true),
            (
                "history",
                "Show everything that ever happened to a tag or an image stream",
                "Newest first",
                true,
            ),
            ("where", "Show every tag that points to an image, or ever did", "where the index was", true),
            ("why", "Tell why a tag points to what it points to", "seen in a registry", true),
            ("diff", "Compare two moments of an image stream, or two images", "which tags came", true),
            ("bisect", "Find the move that brought the first bad image to a tag", "at most once", true),
            ("get", "Show objects: is, istag, itag, isimage, image, schedule, secret", "", true),
            ("describe", "Tell all about objects", "", true),
        ] {
            assert!(list.contains(&format!("{command} {line} ")), "{command}: {list}");
            assert!(!list.contains(more) || more.is_empty(), "{command}: {list}");
            let own = help(&format!("{command} --help"));
            assert!(own.contains(line) && own.contains(more), "{command}: {own}");
            assert_eq!(own.contains("A MOMENT is a sequence"), moment, "{command}: {own}");
        }
    }

    #[test]
    fn help_is_a_command_too() {
        for (asked, same) in [
            ("help", "--help"),
            ("help tag", "tag --help"),
            ("help set image-lookup", "set image-lookup --help"),
        ] {
            let text = |words: &str| parse(&format!("tagtrail {words}")).err().expect("help");
            assert_eq!(text(asked), text(same), "{asked}");
        }
    }
}
