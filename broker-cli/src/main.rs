//! `broker-cli`: publish, subscribe and measure over MQTT, against any broker; look after a broker and its store.

#![forbid(unsafe_code)]

mod api;
mod client;
mod commands;
mod emqx;
mod format;
mod interrupt;
mod link;
mod old_names;
mod options;
mod output;
mod printer;
mod prompt;
mod properties;
mod row;
mod transport;
mod url;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use commands::bench::Bench;
use commands::completion::Completion;
use commands::management::Management;
use commands::publish::Publish;
use commands::store::Store;
use commands::subscribe::Subscribe;

/// MQTT from the command line: publish, subscribe, measure; look after a running broker, and its store
#[derive(Debug, Parser)]
#[command(name = "broker-cli", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit status of what asks a running broker: 0 done, 1 the broker said no, 2 wrong flags, 3 no broker there.
pub, sub, bench and store have their own, see their --help.";

#[derive(Debug, Subcommand)]
enum Command {
    #[command(name = "pub")]
    Publish(Box<Publish>),
    #[command(name = "sub")]
    Subscribe(Box<Subscribe>),
    Bench(Box<Bench>),
    Store(Box<Store>),
    #[command(flatten)]
    Management(Box<Management>),
    #[command(display_order = 1000)]
    Completion(Completion),
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let is_emqx_ctl = old_names::is_emqx_ctl(&words);
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(hint) = old_names::hint(&error, &words) {
                output::error(&anyhow::anyhow!(hint));
                return ExitCode::from(2);
            }
            error.exit()
        }
    };
    let result = match cli.command {
        Command::Publish(command) => command.run(),
        Command::Subscribe(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Store(command) => command.run(),
        Command::Management(command) => command.run(is_emqx_ctl),
        Command::Completion(command) => command.run(Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(output::exit_status(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_commands_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    /// Line by line what scripts for emqx_ctl call.
    #[test]
    fn commands_of_emqx_ctl_are_understood() {
        for line in [
            "status",
            "broker",
            "broker stats",
            "broker metrics",
            "mgmt list",
            "mgmt insert app name",
            "mgmt update app true",
            "mgmt lookup app",
            "mgmt delete app",
            "cluster status",
            "cluster join emqx@10.0.0.2",
            "cluster leave",
            "cluster force-leave emqx@10.0.0.2",
            "clients list",
            "clients show c",
            "clients kick c",
            "sessions list",
            "sessions list persistent",
            "sessions list transient",
            "sessions show c",
            "sessions clean-persistent c",
            "routes list",
            "routes show t/#",
            "topics list",
            "topics show t",
            "subscriptions list",
            "subscriptions show c",
            "subscriptions add c t/# 1",
            "subscriptions del c t/#",
            "plugins list",
            "plugins load emqx_auth_http",
            "plugins unload emqx_auth_http",
            "plugins reload emqx_auth_http",
            "reload emqx_retainer",
            "recon memory",
            "recon allocated",
            "recon bin_leak",
            "recon node_stats",
            "recon remote_load emqx",
            "listeners",
            "listeners stop mqtt:tcp 1883",
            "listeners stop mqtt:tcp 0.0.0.0:1883",
            "vm",
            "vm all",
            "vm load",
            "vm memory",
            "vm process",
            "vm io",
            "vm ports",
            "log set-level debug",
            "log primary-level",
            "log primary-level debug",
            "log handlers list",
            "log handlers set-level console debug",
            "trace list",
            "trace start client c log/c.log",
            "trace start client c log/c.log debug",
            "trace stop client c",
            "trace start topic t/# log/t.log",
            "trace start topic t/# log/t.log info",
            "trace stop topic t/#",
            "acl reload",
            "acl cache-clean",
            "retainer info",
            "retainer topics",
            "retainer clean",
            "admins add u p",
            "admins add u p tags",
            "admins passwd u p",
            "admins del u",
            "users list",
            "users add u p",
            "users update u p",
            "users del u",
            "clientid list",
            "clientid add c p",
            "clientid update c p",
            "clientid del c",
            "rules list",
            "rules show r:1",
            "rules create r message.publish select [] -d x",
            "rules delete r:1",
            "rule-actions list",
            "rule-actions list -t web_hook -k message.publish",
            "rule-actions show inspect",
            "resources create w web_hook -c {} -d x",
            "resources list",
            "resources list -t web_hook",
            "resources show web_hook:w",
            "resources delete web_hook:w",
            "resource-types list",
            "resource-types show web_hook",
        ] {
            let words = ["emqx_ctl"].into_iter().chain(line.split_whitespace());
            let parsed = Cli::try_parse_from(words);
            assert!(
                matches!(&parsed, Ok(Cli { command: Command::Management(_) })),
                "{line}: {}",
                parsed.err().map(|error| error.to_string()).unwrap_or_default()
            );
        }
    }

    #[test]
    fn shared_flags_stand_before_or_after_the_inner_command() {
        for line in ["clients --json list", "clients list --json", "clients --json"] {
            let words = ["broker-cli"].into_iter().chain(line.split_whitespace());
            let Cli { command: Command::Management(management) } =
                Cli::try_parse_from(words).unwrap()
            else {
                panic!("{line} is something else");
            };
            assert!(format!("{management:?}").contains("json: true"), "{line}");
        }
    }

    /// An argument of a command takes the place of a shared one of the same name in silence.
    #[test]
    fn every_command_of_the_api_has_every_shared_flag() {
        fn check(command: &clap::Command, path: &str) {
            for flag in
                ["api", "app", "secret", "secret-file", "ca-file", "node", "timeout", "json"]
            {
                let has_it = command.get_arguments().any(|it| it.get_long() == Some(flag));
                assert!(has_it, "{path}: --{flag}");
            }
            command
                .get_subcommands()
                .for_each(|it| check(it, &format!("{path} {}", it.get_name())));
        }
        let mut cli = Cli::command();
        cli.build();
        let others = ["pub", "sub", "bench", "store", "completion"];
        for command in cli.get_subcommands().filter(|it| !others.contains(&it.get_name())) {
            check(command, command.get_name());
        }
    }

    #[test]
    fn every_command_is_in_the_documentation() {
        fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
            let shown = |it: &&clap::Command| !it.is_hide_set();
            for inner in command.get_subcommands().filter(shown) {
                let path = format!("{path}{}", inner.get_name());
                if inner.get_subcommands().next().is_none() {
                    found.push((path, inner.get_name().to_owned()));
                } else {
                    leaves(inner, &format!("{path} "), found);
                }
            }
        }
        let documented = include_str!("../../docs/cli.md");
        let mut found = Vec::new();
        leaves(&Cli::command(), "", &mut found);
        assert!(found.len() > 80, "{}", found.len());
        for (path, name) in found {
            // `listeners stop|start|restart LISTENER` stands for three.
            let (group, _) = path.rsplit_once(' ').unwrap_or(("", ""));
            let is_named = documented.lines().filter(|line| line.starts_with('|')).any(|line| {
                let command = line.split(" | ").next().unwrap_or_default().replace("\\|", "|");
                command.contains(&format!("`{path}"))
                    || (command.contains(&format!("`{group} "))
                        && command.split([' ', '|', '`']).any(|word| word == name))
            });
            let first = path.split(' ').next().unwrap_or_default();
            let is_elsewhere = ["pub", "sub", "bench", "store"].contains(&first);
            assert!(is_named || is_elsewhere, "docs/cli.md lacks '{path}'");
        }
    }

    #[test]
    fn an_empty_id_is_refused_for_it_would_mean_the_whole_list() {
        for line in [["clients", "kick", ""], ["retainer", "clean", ""], ["apps", "delete", ""]] {
            let words = ["broker-cli"].into_iter().chain(line);
            assert!(Cli::try_parse_from(words).is_err(), "{line:?}");
        }
    }
}
