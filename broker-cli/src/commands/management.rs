//! The commands that ask a running broker: their names, the flags they share, and how they run.

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::account_table::{AuthClientid, AuthUsername};
use super::acl::Acl;
use super::admins::Admins;
use super::alarms::Alarms;
use super::apps::Apps;
use super::banned::Banned;
use super::broker::{Broker, Metrics, Stats, Status};
use super::clients::Clients;
use super::config::Config;
use super::context::Context;
use super::listeners::Listeners;
use super::log::Log;
use super::nodes::{Cluster, Nodes, Vm};
use super::plugins::Plugins;
use super::publish_by_api::PublishByApi;
use super::recon::Recon;
use super::reload::Reload;
use super::resources::{ResourceTypes, Resources};
use super::retainer::Retainer;
use super::routes::Routes;
use super::rule_actions::RuleActions;
use super::rules::Rules;
use super::sessions::Sessions;
use super::slow_subscriptions::SlowSubscriptions;
use super::subscriptions::Subscriptions;
use super::topic_metrics::TopicMetrics;
use super::trace::Trace;
use super::why::{Drops, Why};
use crate::api::ApiOptions;

/// A command of the API with the flags that all of them have.
#[derive(Debug)]
pub(crate) struct Management {
    options: ApiOptions,
    group: Group,
}

#[derive(Debug, Subcommand)]
enum Group {
    Status(Status),
    Broker(Broker),
    Metrics(Metrics),
    Stats(Stats),
    Nodes(Nodes),
    Cluster(Cluster),
    Vm(Vm),
    #[command(alias = "connections")]
    Clients(Clients),
    Sessions(Sessions),
    Subscriptions(Subscriptions),
    #[command(visible_alias = "topics")]
    Routes(Routes),
    #[command(name = "publish")]
    Publish(PublishByApi),
    Retainer(Retainer),
    Rules(Rules),
    RuleActions(RuleActions),
    Resources(Resources),
    ResourceTypes(ResourceTypes),
    Listeners(Listeners),
    Plugins(Plugins),
    Recon(Recon),
    Reload(Reload),
    Alarms(Alarms),
    Banned(Banned),
    #[command(visible_alias = "mgmt")]
    Apps(Apps),
    Admins(Admins),
    #[command(visible_alias = "clientid")]
    AuthClientid(AuthClientid),
    #[command(name = "users", visible_alias = "auth-username")]
    AuthUsername(AuthUsername),
    Acl(Acl),
    Config(Config),
    Log(Log),
    Trace(Trace),
    Why(Why),
    Drops(Drops),
    SlowSubscriptions(SlowSubscriptions),
    TopicMetrics(TopicMetrics),
}

impl Management {
    /// Asks, and prints. `is_emqx_ctl`: called by that name, whose lines are wanted then.
    pub(crate) fn run(&self, is_emqx_ctl: bool) -> Result<()> {
        let mut context = Context::open(&self.options, is_emqx_ctl)?;
        let result = self.group.run(&mut context);
        context.finish(result)
    }
}

impl Group {
    fn run(&self, context: &mut Context) -> Result<()> {
        match self {
            Self::Status(it) => it.run(context),
            Self::Broker(it) => it.run(context),
            Self::Metrics(it) => it.run(context),
            Self::Stats(it) => it.run(context),
            Self::Nodes(it) => it.run(context),
            Self::Cluster(it) => it.run(context),
            Self::Vm(it) => it.run(context),
            Self::Clients(it) => it.run(context),
            Self::Sessions(it) => it.run(context),
            Self::Subscriptions(it) => it.run(context),
            Self::Routes(it) => it.run(context),
            Self::Publish(it) => it.run(context),
            Self::Retainer(it) => it.run(context),
            Self::Rules(it) => it.run(context),
            Self::RuleActions(it) => it.run(context),
            Self::Resources(it) => it.run(context),
            Self::ResourceTypes(it) => it.run(context),
            Self::Listeners(it) => it.run(context),
            Self::Plugins(it) => it.run(context),
            Self::Recon(it) => it.run(context),
            Self::Reload(it) => it.run(context),
            Self::Alarms(it) => it.run(context),
            Self::Banned(it) => it.run(context),
            Self::Apps(it) => it.run(context),
            Self::Admins(it) => it.run(context),
            Self::AuthClientid(it) => it.run(context),
            Self::AuthUsername(it) => it.run(context),
            Self::Acl(it) => it.run(context),
            Self::Config(it) => it.run(context),
            Self::Log(it) => it.run(context),
            Self::Trace(it) => it.run(context),
            Self::Why(it) => it.run(context),
            Self::Drops(it) => it.run(context),
            Self::SlowSubscriptions(it) => it.run(context),
            Self::TopicMetrics(it) => it.run(context),
        }
    }
}

const FIRST_IN_HELP: usize = 100;

/// Every group gets the shared flags; written out, each would have them as a field.
impl Subcommand for Management {
    fn augment_subcommands(command: Command) -> Command {
        let groups = Group::augment_subcommands(Command::new("groups"));
        let with_flags = groups.get_subcommands().cloned().map(ApiOptions::augment_args);
        // They are numbered from 0 already, like the commands that they come after.
        let in_order = (FIRST_IN_HELP..).zip(with_flags).map(|(n, it)| it.display_order(n));
        command.subcommands(in_order)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Group::has_subcommand(name)
    }
}

impl FromArgMatches for Management {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(ErrorKind::MissingSubcommand);
        let (_, flags) = matches.subcommand().ok_or_else(missing)?;
        Ok(Self {
            options: ApiOptions::from_arg_matches(flags)?,
            group: Group::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
