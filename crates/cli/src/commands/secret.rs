//! `tagtrail create secret docker-registry|generic`, in kubectl's words: credentials that imports into a namespace use.
//! They are handed over and never come back: no command and no call shows them again.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;
use tagtrail_api::v1::{CreateSecretRequest, DeleteSecretRequest, Secret};

use crate::client::Client;
use crate::commands::create::{Output, one_name};
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{DryRun, dry_run};
use crate::print::secret::{self, KEY, TYPE};

/// What kind of secret to create.
#[derive(clap::Subcommand)]
pub(crate) enum Create {
    /// Create a pull secret from a name and a password, or from Docker's config.json
    DockerRegistry(DockerRegistry),
    /// Create a pull secret from a file
    Generic(Generic),
}

/// Create a pull secret: credentials that imports into this namespace try before the server's own. They are kept beside the
/// log, deleted they are gone, and nothing ever shows them again.
#[derive(clap::Args)]
pub(crate) struct DockerRegistry {
    /// Its name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The registry: HOST, HOST:PORT or HOST/PATH
    #[arg(long, value_name = "REGISTRY", default_value = "https://index.docker.io/v1/")]
    docker_server: String,
    /// The user
    #[arg(long, value_name = "NAME", default_value = "")]
    docker_username: String,
    /// The password. Others on this machine can read it off the list of processes: --from-file keeps it out of there
    #[arg(long, value_name = "TEXT", default_value = "")]
    docker_password: String,
    /// Taken because scripts give it: no registry asks for it
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    docker_email: String,
    /// Docker's config.json, instead of the flags above
    #[arg(long, value_name = "[.dockerconfigjson=]PATH")]
    from_file: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// Create a pull secret from a file. It is never shown again.
#[derive(clap::Args)]
pub(crate) struct Generic {
    /// Its name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Docker's config.json
    #[arg(long, value_name = ".dockerconfigjson=PATH")]
    from_file: Vec<String>,
    /// What is in it: kubernetes.io/dockerconfigjson, and nothing else is kept
    #[arg(long = "type", value_name = "TYPE", default_value = "Opaque")]
    kind: String,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
struct How {
    /// Only check, change nothing: none, client or server
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client", value_name = "KIND", value_parser = dry_run)]
    dry_run: DryRun,
    /// Print what was created, without its value: name, json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Creates a secret.
pub(crate) async fn run(create: Create, context: &mut Context) -> Result<(), Failure> {
    match create {
        Create::DockerRegistry(args) => {
            let name = one_name(&args.names, "secret docker-registry")?;
            let output = Output::parse(args.how.output.as_deref())?;
            let config = docker_registry(&args, &name)?;
            keep(&name, config, &output, args.how.dry_run, context).await
        }
        Create::Generic(args) => {
            let name = one_name(&args.names, "secret generic")?;
            let output = Output::parse(args.how.output.as_deref())?;
            if args.kind != TYPE {
                return Err(Failure::client(format!(
                    "only pull secrets are kept here: give --type={TYPE} and --from-file={KEY}=PATH"
                )));
            }
            let config = from_file(&args.from_file, None, &name)?;
            keep(&name, config, &output, args.how.dry_run, context).await
        }
    }
}

/// Deletes a secret, or only looks whether it is there.
pub(crate) async fn delete(
    client: &Client,
    context: &Context,
    name: &str,
    dry_run: bool,
) -> Result<(), Failure> {
    not_in_the_log(context)?;
    let (namespace, name) = (context.namespace.clone(), name.to_owned());
    let deleted = client.secrets().delete_secret(DeleteSecretRequest { namespace, name, dry_run }).await;
    deleted.map(drop).map_err(|status| client.refusal(&status))
}

async fn keep(
    name: &str,
    docker_config_json: Vec<u8>,
    output: &Output,
    dry_run: DryRun,
    context: &mut Context,
) -> Result<(), Failure> {
    not_in_the_log(context)?;
    let namespace = context.namespace.clone();
    let created = if dry_run == DryRun::Client {
        Secret { namespace, name: name.to_owned(), created_at: None }
    } else {
        let client = context.client()?;
        let dry_run = dry_run.is_dry();
        let request = CreateSecretRequest { namespace, name: name.to_owned(), docker_config_json, dry_run };
        let answer = client.secrets().create_secret(request).await;
        let answer = answer.map_err(|status| not_created(client.refusal(&status)))?;
        answer.into_inner().secret.ok_or_else(|| client.nonsense())?
    };
    context.print(&output.print(&format!("secret/{name}"), dry_run, || secret::in_json(&created)))
}

/// The Docker configuration that the flags stand for.
fn docker_registry(args: &DockerRegistry, name: &str) -> Result<Vec<u8>, Failure> {
    if !args.from_file.is_empty() {
        return from_file(&args.from_file, Some(KEY), name);
    }
    let (server, user, password) = (&args.docker_server, &args.docker_username, &args.docker_password);
    if [server, user, password].iter().any(|text| text.is_empty()) {
        return Err(Failure::client(
            "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required",
        ));
    }
    let mut entry = json!({ "username": user, "password": password });
    if !args.docker_email.is_empty() {
        entry["email"] = args.docker_email.as_str().into();
    }
    Ok(json!({ "auths": { server: entry } }).to_string().into_bytes())
}

/// What is in the file of `[KEY=]PATH`. Without a key its name is one, unless `key` is.
fn from_file(sources: &[String], key: Option<&str>, name: &str) -> Result<Vec<u8>, Failure> {
    let (found, path) = match sources {
        [source] => file_source(source, key)?,
        [] => ("", ""),
        _ => {
            return Err(Failure::client(format!(
                "one --from-file={KEY}=PATH is enough, got {}",
                sources.len()
            )));
        }
    };
    if found != KEY {
        let why = format!("Secret \"{name}\" is invalid: data[{KEY}]: Required value");
        return Err(Failure::client(format!("failed to create secret {why}")));
    }
    let reason = |error: io::Error| {
        let text = error.to_string();
        text.split_once(" (os error").map_or(text.clone(), |(why, _)| why.to_lowercase())
    };
    fs::read(path).map_err(|error| Failure::client(format!("error reading {path}: {}", reason(error))))
}

/// Key and path, with kubectl's words for what is neither.
fn file_source<'a>(source: &'a str, key: Option<&'a str>) -> Result<(&'a str, &'a str), Failure> {
    match source.split_once('=') {
        None => {
            let name = Path::new(source).file_name().and_then(|name| name.to_str()).unwrap_or_default();
            Ok((key.unwrap_or(name), source))
        }
        Some((_, path)) if path.contains('=') => {
            Err(Failure::client("key names or file paths cannot contain '='"))
        }
        Some(("", path)) => Err(Failure::client(format!("key name for file path {path} missing"))),
        Some((key, "")) => Err(Failure::client(format!("file path for key name {key} missing"))),
        Some(pair) => Ok(pair),
    }
}

/// kubectl tells the server's words in a sentence of its own.
fn not_created(failure: Failure) -> Failure {
    match failure {
        Failure::Server { text, .. } => {
            let words = text.strip_prefix("The ").or_else(|| text.split_once("): ").map(|(_, words)| words));
            Failure::client(format!("failed to create secret {}", words.unwrap_or(&text)))
        }
        other => other,
    }
}

/// Flags that change what the log keeps would be silently without effect.
fn not_in_the_log(context: &Context) -> Result<(), Failure> {
    let write = &context.write;
    let given = [
        ("--reason", !write.reason.is_empty()),
        ("--request-id", !write.request_id.is_empty()),
        ("--expect-revision", write.expected_revision.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            Err(Failure::client(format!("{flag} is for what stands in the log, and secrets do not")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DockerRegistry,
    }

    fn config(line: &str) -> String {
        let line = Line::try_parse_from(format!("x {line}").split(' ')).expect(line);
        match docker_registry(&line.args, "name") {
            Ok(config) => String::from_utf8(config).expect("JSON"),
            Err(failure) => failure.text(),
        }
    }

    #[test]
    fn flags_make_a_docker_configuration() {
        let check = |line: &str, want: &str| assert_eq!(config(line), want, "{line}");
        check(
            "n --docker-server=quay.io --docker-username=user --docker-password=pass",
            r#"{"auths":{"quay.io":{"username":"user","password":"pass"}}}"#,
        );
        check(
            "n --docker-username=user --docker-password=pass --docker-email=a@b",
            r#"{"auths":{"https://index.docker.io/v1/":{"username":"user","password":"pass","email":"a@b"}}}"#,
        );
        let missing = "error: either --from-file or the combination of --docker-username, --docker-password and --docker-server is required\n";
        check("n", missing);
        check("n --docker-username=user", missing);
        check("n --docker-username=user --docker-password=pass --docker-server=", missing);
        check(
            "n --from-file=/no/such/file",
            "error: error reading /no/such/file: no such file or directory\n",
        );
        check("n --from-file=a=b=c", "error: key names or file paths cannot contain '='\n");
        check("n --from-file==b", "error: key name for file path b missing\n");
        check("n --from-file=a=", "error: file path for key name a missing\n");
        check(
            "n --from-file=a --from-file=b",
            "error: one --from-file=.dockerconfigjson=PATH is enough, got 2\n",
        );
        check(
            "n --from-file=config.json=/no/such/file",
            "error: failed to create secret Secret \"name\" is invalid: data[.dockerconfigjson]: Required value\n",
        );
    }

    #[test]
    fn refusals_are_told_in_kubectls_sentence() {
        let check = |failure: Failure, want: &str| assert_eq!(not_created(failure).text(), want);
        check(
            Failure::server("AlreadyExists", "secrets \"n\" already exists"),
            "error: failed to create secret secrets \"n\" already exists\n",
        );
        check(
            Failure::invalid("Secret", "N", "metadata.name: Invalid value: \"N\": no"),
            "error: failed to create secret Secret \"N\" is invalid: metadata.name: Invalid value: \"N\": no\n",
        );
        check(Failure::client("no server"), "error: no server\n");
    }
}
