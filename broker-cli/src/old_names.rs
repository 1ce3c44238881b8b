//! What emqx_ctl calls otherwise: its own name, and the commands that have no place here.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;

/// Whether the program was called by the name of EMQ X's, by a link to it.
pub(crate) fn is_emqx_ctl(words: &[OsString]) -> bool {
    words
        .first()
        .and_then(|path| Path::new(path).file_stem())
        .is_some_and(|name| name == "emqx_ctl")
}

/// What to do instead, for a command that is not here.
pub(crate) fn hint(error: &clap::Error, words: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let word = words.get(1)?.to_str()?;
    let (_, hint) = GONE.iter().find(|(name, _)| *name == word)?;
    Some(format!("there is no '{word}' here: {hint}"))
}

const GONE: &[(&str, &str)] = &[
    (
        "bridges",
        "a resource of type bridge_mqtt forwards what a rule gives it; 'broker-cli resources create' makes one",
    ),
    ("data", "'broker-cli store backup' copies what the broker keeps"),
    ("license", "none is needed"),
    ("mnesia", "the broker keeps a store of its own; 'broker-cli store stats' shows it"),
    ("modules", "'broker-cli config show module' shows them"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn the_name_of_the_program_decides() {
        assert!(is_emqx_ctl(&words("/usr/bin/emqx_ctl status")));
        assert!(!is_emqx_ctl(&words("/usr/bin/broker-cli emqx_ctl")));
        assert!(!is_emqx_ctl(&[]));
    }

    #[test]
    fn only_a_command_that_is_not_there_gets_a_hint() {
        let error = |kind| clap::Error::new(kind);
        let hint = |kind, line| hint(&error(kind), &words(line));
        let said = hint(ErrorKind::InvalidSubcommand, "emqx_ctl mnesia").unwrap();
        assert!(said.contains("broker-cli store stats"), "{said}");
        assert_eq!(hint(ErrorKind::InvalidSubcommand, "emqx_ctl nonsense"), None);
        assert_eq!(hint(ErrorKind::UnknownArgument, "emqx_ctl mnesia"), None);
    }
}
