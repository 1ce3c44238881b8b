//! Topic rewrite: the first rule whose filter and pattern match gives a topic its new name.

use std::sync::Arc;

use broker_codec::topic;
use regex_lite::Regex;

use crate::broker::BuildError;
use crate::config::RewriteRule;

pub(crate) struct Rewrite {
    rules: Vec<(String, Regex, String)>,
}

impl Rewrite {
    /// The compiled rules; `None` if there are none.
    pub(crate) fn new(rules: &[RewriteRule]) -> Result<Option<Arc<Self>>, BuildError> {
        if rules.is_empty() {
            return Ok(None);
        }
        let compile = |rule: &RewriteRule| {
            let pattern = Regex::new(&rule.pattern).map_err(|error| BuildError::RewriteRule {
                filter: rule.filter.clone(),
                reason: error.to_string(),
            })?;
            Ok((rule.filter.clone(), pattern, rule.target.clone()))
        };
        Ok(Some(Arc::new(Self { rules: rules.iter().map(compile).collect::<Result<_, _>>()? })))
    }

    /// The new name of a topic or Topic Filter, if a rule gives it a valid one.
    pub(crate) fn apply(&self, from: &str) -> Option<String> {
        let is_name = !topic::has_wildcard(from);
        for (filter, pattern, target) in &self.rules {
            if !topic::matches(filter, from) && filter != from {
                continue;
            }
            let captures = pattern.captures(from)?;
            // `$1` is a whole word only before a non-letter; the original has no such rule.
            let template = braced(target);
            let mut to = String::new();
            captures.expand(&template, &mut to);
            let is_valid = if is_name {
                topic::validate_name(&to).is_ok()
            } else {
                topic::validate_filter(&to).is_ok()
            };
            return is_valid.then_some(to);
        }
        None
    }
}

/// `x/$1_y` as `x/${1}_y`.
fn braced(target: &str) -> String {
    let mut out = String::with_capacity(target.len() + 4);
    let mut chars = target.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(digit) if c == '$' && digit.is_ascii_digit() => {
                out.push_str(&format!("${{{digit}}}"));
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(from: &str) -> Option<String> {
        let rule = |filter: &str, pattern: &str, target: &str| RewriteRule {
            filter: filter.into(),
            pattern: pattern.into(),
            target: target.into(),
        };
        // The rules of the original's documentation.
        let rules =
            [rule("x/#", "^x/y/(.+)$", "z/y/$1"), rule("y/+/z/#", "^y/(.+)/z/(.+)$", "y/z/$2")];
        Rewrite::new(&rules).unwrap().unwrap().apply(from)
    }

    #[test]
    fn rules_rewrite_names_and_filters() {
        assert_eq!(rewrite("x/y/1").as_deref(), Some("z/y/1"));
        assert_eq!(rewrite("x/z/1"), None);
        assert_eq!(rewrite("y/a/z/b").as_deref(), Some("y/z/b"));
        assert_eq!(rewrite("x/y/#").as_deref(), Some("z/y/#"));
    }
}
