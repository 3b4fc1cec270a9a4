//! `tagtrail project [NAME]`: shows the namespace to act in, or chooses another and remembers it.

use tagtrail_domain::Namespace;

use crate::config::{self, ClientFile, ConfigError};
use crate::context::Context;
use crate::failure::Failure;

/// Show the namespace to act in, or choose another. It is remembered in the client's configuration file.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The namespace to choose
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Shows or chooses the namespace.
pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let Context { server, namespace, .. } = &*context;
    let Some(name) = &args.name else {
        let line = format!("Using project \"{namespace}\" on server \"{server}\".\n");
        return context.print(&line);
    };
    let name = Namespace::parse(name).map_err(Failure::client)?.to_string();
    let line = match *namespace == name {
        true => format!("Already on project \"{name}\" on server \"{server}\".\n"),
        false => format!("Now using project \"{name}\" on server \"{server}\".\n"),
    };
    let path = config::path().ok_or(ConfigError::NoHome).map_err(Failure::client)?;
    let file = ClientFile::load(&path).map_err(Failure::client)?;
    if file.namespace.as_deref() != Some(&name) {
        ClientFile { namespace: Some(name.clone()), ..file }.save(&path).map_err(Failure::client)?;
    }
    context.print(&line)?;
    match std::env::var("TAGTRAIL_NAMESPACE") {
        Ok(other) if !other.is_empty() && other != name => context.warn(&format!(
            "warning: TAGTRAIL_NAMESPACE is set to \"{other}\", which goes before this choice."
        )),
        _ => Ok(()),
    }
}
