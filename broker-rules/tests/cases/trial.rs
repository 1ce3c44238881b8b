//! Cases tried as `rule_test` tries a statement.

use std::sync::Arc;

use broker_core::Broker;
use broker_rules::Limits;
use broker_rules::action::Catalogue;
use broker_rules::compiler;
use broker_rules::engine::{EngineOptions, RuleEngine};
use broker_rules::event::Sources;

use crate::table::{Case, Outcome};

/// An engine for every set of limits that there has been.
#[derive(Default)]
pub struct Engines(Vec<(Limits, RuleEngine)>);

impl Engines {
    /// What comes of `sql` with the columns of a case.
    pub fn outcome(&mut self, case: &Case, sql: &str) -> Outcome {
        let hook = case.hook.as_deref();
        let limits = Arc::new(case.limits.clone());
        let sources = compiler(limits, random())(sql).map(|select| select.sources().to_vec());
        let sources = sources
            .and_then(|from| Sources::resolve(hook, &from).map_err(|error| error.to_string()));
        if let Err(cause) = sources {
            return Outcome::Refused(without_prefix(&cause));
        }
        let made = self.engine(&case.limits).try_statement(hook, sql, case.ctx.clone(), WALL_NS);
        match made {
            Ok(Some(json)) => Outcome::Gives(json.to_string()),
            Ok(None) => Outcome::Nothing,
            Err(error) => Outcome::Error(without_prefix(&error.to_string())),
        }
    }

    fn engine(&mut self, limits: &Limits) -> &RuleEngine {
        let at = self.0.iter().position(|(known, _)| known == limits).unwrap_or_else(|| {
            self.0.push((limits.clone(), engine(limits)));
            self.0.len() - 1
        });
        &self.0[at].1
    }
}

fn engine(limits: &Limits) -> RuleEngine {
    let limits = Arc::new(limits.clone());
    let broker = Broker::builder().build().unwrap();
    let compile = compiler(Arc::clone(&limits), random());
    let options = EngineOptions { limits, ..EngineOptions::default() };
    RuleEngine::new(&broker, Catalogue::default(), compile, options)
}

fn random() -> Box<dyn Fn(&mut [u8]) + Send + Sync> {
    Box::new(|bytes| bytes.fill(0x5A))
}

fn without_prefix(message: &str) -> String {
    message.strip_prefix("Bad Arguments: SQL: ").unwrap_or(message).to_owned()
}

const WALL_NS: i64 = 1_700_000_000_123_456_789;
