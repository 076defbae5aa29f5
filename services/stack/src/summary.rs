//! What `up` says when everything is ready, and what to do where it cannot go on by itself.

use crate::accounts::Account;
use crate::context::Context;
use crate::failure::{Failure, Output, print};
use crate::home::Home;
use crate::nats_conf::{User, render_accounts, render_user};
use crate::permissions::Role;
use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;

/// Says where everything is.
///
/// # Errors
/// When the document cannot be written.
pub fn print_ready(home: &Home, context: &Context, output: Output) -> Result<()> {
    match output {
        Output::Text => print(&ready(home, context)),
        Output::Json => {
            let mut document = serde_json::to_value(context)?;
            document["ready"] = true.into();
            document["context"] = home.context().to_string_lossy().into();
            print(&document.to_string());
        }
    }
    Ok(())
}

fn ready(home: &Home, context: &Context) -> String {
    let mut text = format!("\nKeywheel is up.\n\n  bus      {}\n", context.nats_url);
    for edge in &context.edges {
        let grpc = edge.grpc.as_ref().map(|grpc| format!("  gRPC {grpc}")).unwrap_or_default();
        let written = writeln!(text, "  edge     {}  {}{grpc}", edge.id, edge.http);
        written.expect("writing to a string does not fail");
    }
    for service in &context.services {
        let written = writeln!(text, "  watch    {}  {}/metrics", service.name, service.http);
        written.expect("writing to a string does not fail");
    }
    let is_usual = std::path::absolute(".keywheel").is_ok_and(|usual| usual == home.root());
    let export =
        if is_usual { String::new() } else { format!("  export KEYWHEEL_HOME={}\n", shell(home.root())) };
    text + &format!(
        "  home     {}\n\nTry in another terminal:\n\n{export}  keywheel issue acme/web      print a new client's key, \
         once\n  keywheel status acme/web     its keys and their states\n  keywheel rotate acme/web     the next \
         version, without downtime\n  keywheel edges               how far every edge is\n\nCtrl-C drains and stops \
         everything; the same command continues.",
        home.root().display()
    )
}

/// A path as a shell takes it.
pub fn shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if is_plain { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The server does not know some of our users: what its operator has to add.
pub fn unknown_users(users: &[User], instances: u32) -> Failure {
    let are_edges = users.iter().all(|user| matches!(user.role, Role::Edge(_)));
    let (what, block): (String, String) = if are_edges {
        let place = Account::Readers.name();
        let what = format!("add them to `accounts.{place}.users` in its configuration, reload it");
        (what, users.iter().map(|user| render_user(user, instances)).collect())
    } else {
        let place = Account::Streams.name();
        let what = format!(
            "add each to its own account in its configuration, and where an account is missing, make it, with your \
             administrator as the user of {place}; restart it (a reload does not join new accounts)"
        );
        (what, render_accounts(users, &[], instances))
    };
    let detail = format!(
        "the server does not know these users; {what}, and run this command again: it goes on from here\n\n{block}"
    );
    Failure::refused("unknown_users", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_for_a_shell() {
        assert_eq!(shell(Path::new("/a/b-1.c")), "/a/b-1.c");
        assert_eq!(shell(Path::new("/a b's")), r"'/a b'\''s'");
    }
}
