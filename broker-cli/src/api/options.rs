//! ApiOptions: the flags and variables that say which broker to ask, as whom, and how to print what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ureq::http::Uri;

use crate::options::seconds;
use crate::output::Usage;
use crate::prompt;

// No doc comment: it would become what each command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApiOptions {
    /// Where the management API is [env: BROKER_API] [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", global = true, help_heading = "API")]
    api: Option<String>,
    /// Id of the application [env: BROKER_APP] [default: admin]
    #[arg(long, value_name = "ID", global = true, help_heading = "API")]
    app: Option<String>,
    /// Its secret, which `ps` shows; better in the variable or a file [env: BROKER_SECRET]
    #[arg(long, value_name = "SECRET", global = true, help_heading = "API")]
    secret: Option<String>,
    /// File whose first line is the secret, - for stdin [env: BROKER_SECRET_FILE]
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        conflicts_with = "secret",
        help_heading = "API"
    )]
    secret_file: Option<PathBuf>,
    /// CA certificates to trust, PEM [env: BROKER_CA_FILE] [default: those of the system]
    #[arg(long, value_name = "FILE", global = true, help_heading = "API")]
    ca_file: Option<PathBuf>,
    /// Take any certificate
    #[arg(long, global = true, help_heading = "API")]
    insecure: bool,
    /// The node that is meant [default: the one that answers]
    #[arg(long, value_name = "NAME", global = true, help_heading = "API")]
    node: Option<String>,
    /// Give up if there is no answer by then
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds, global = true, help_heading = "API")]
    timeout: Duration,
    /// Print the data of the API as it comes
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// How to print: for people, as the API has it, or line by line as emqx_ctl does
    #[arg(long, value_enum, global = true, conflicts_with = "json", help_heading = "Output")]
    format: Option<Format>,
    /// No colours [env: NO_COLOR]
    #[arg(long, global = true, help_heading = "Output")]
    no_color: bool,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Emqx,
}

/// What flags and variables come to.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Scheme, host and port, without a slash at the end.
    pub(crate) url: String,
    pub(crate) app: String,
    pub(crate) secret: String,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) is_insecure: bool,
    pub(crate) node: Option<String>,
    pub(crate) timeout: Duration,
}

impl ApiOptions {
    /// How to print, for a program of this name.
    pub(crate) fn format(&self, is_emqx_ctl: bool) -> Format {
        let by_name = if is_emqx_ctl { Format::Emqx } else { Format::Table };
        if self.json { Format::Json } else { self.format.unwrap_or(by_name) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format(false) == Format::Json
    }

    pub(crate) const fn is_colorless(&self) -> bool {
        self.no_color
    }

    /// Puts flags before variables before defaults. `variable` looks one up.
    pub(crate) fn resolve(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let (origin, url) = match (&self.api, variable("BROKER_API")) {
            (Some(url), _) => ("--api", url.clone()),
            (None, Some(url)) => ("BROKER_API", url),
            (None, None) => ("--api", DEFAULT_URL.to_owned()),
        };
        let url = base(&url).map_err(|fault| Usage(format!("{origin} '{url}' {fault}")))?;
        let app = self.app.clone().or_else(|| variable("BROKER_APP"));
        let app = app.unwrap_or_else(|| DEFAULT_APP.to_owned());
        let secret = match (&self.secret, &self.secret_file) {
            (Some(secret), _) => Some(secret.clone()),
            (None, Some(file)) => Some(first_line(file, "--secret-file")?),
            (None, None) => match (variable("BROKER_SECRET"), variable("BROKER_SECRET_FILE")) {
                (Some(secret), _) => Some(secret),
                (None, Some(file)) => Some(first_line(Path::new(&file), "BROKER_SECRET_FILE")?),
                (None, None) => (app == DEFAULT_APP).then(|| DEFAULT_SECRET.to_owned()),
            },
        };
        let secret = secret.with_context(|| {
            Usage(format!("application '{app}' needs its secret: --secret-file or BROKER_SECRET"))
        })?;
        Ok(Settings {
            url,
            app,
            secret,
            ca_file: self.ca_file.clone().or_else(|| variable("BROKER_CA_FILE").map(PathBuf::from)),
            is_insecure: self.insecure,
            node: self.node.clone(),
            timeout: self.timeout,
        })
    }
}

const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// What a broker has from its first start on, for loopback only.
const DEFAULT_APP: &str = "admin";
const DEFAULT_SECRET: &str = "public";

/// `broker`, `broker:8080` or a URL, with or without `/api/v3`.
fn base(text: &str) -> Result<String, &'static str> {
    const FORM: &str = "is not http[s]://HOST[:PORT]";
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = with_scheme.parse().map_err(|_| FORM)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(FORM);
    };
    if !["http", "https"].contains(&scheme) || authority.host().is_empty() {
        return Err(FORM);
    }
    if authority.as_str().contains('@') {
        return Err("has credentials; --app and --secret-file take them");
    }
    if !["", "/api/v3"].contains(&uri.path().trim_end_matches('/')) || uri.query().is_some() {
        return Err("has a path; the API is at /api/v3 below the host");
    }
    // A name alone means the port that the broker listens on.
    let port = match authority.port() {
        None if !text.contains("://") => ":8080",
        _ => "",
    };
    Ok(format!("{scheme}://{authority}{port}"))
}

fn first_line(file: &Path, origin: &str) -> Result<String> {
    if file == Path::new("-") {
        return prompt::secret("secret");
    }
    let text = fs::read_to_string(file);
    let text = text.with_context(|| format!("{origin} {}", file.display()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Usage(format!("{origin} {}: the first line is empty", file.display())).into());
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: ApiOptions,
    }

    fn resolve(line: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let words = std::iter::once("test").chain(line.split_whitespace());
        let options = Line::try_parse_from(words).map_err(|error| error.to_string())?.options;
        let variable = |name: &str| {
            variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned())
        };
        options.resolve(&variable).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn flags_go_before_variables_and_these_before_defaults() {
        let settings = resolve("", &[]).unwrap();
        assert_eq!(settings.url, "http://127.0.0.1:8080");
        assert_eq!((settings.app.as_str(), settings.secret.as_str()), ("admin", "public"));
        let variables =
            [("BROKER_API", "https://h:1/"), ("BROKER_APP", "a"), ("BROKER_SECRET", "s")];
        let settings = resolve("", &variables).unwrap();
        assert_eq!(settings.url, "https://h:1");
        assert_eq!((settings.app.as_str(), settings.secret.as_str()), ("a", "s"));
        let settings = resolve("--api g:2 --app b --secret t", &variables).unwrap();
        assert_eq!(settings.url, "http://g:2");
        assert_eq!((settings.app.as_str(), settings.secret.as_str()), ("b", "t"));
        // A variable that is set to nothing is none.
        assert_eq!(resolve("", &[("BROKER_APP", "")]).unwrap().app, "admin");
    }

    #[test]
    fn secret_of_a_file_is_its_first_line() {
        let path = std::env::temp_dir().join(format!("cli-secret-{}", std::process::id()));
        fs::write(&path, "sec ret\r\nmore\n").unwrap();
        let line = format!("--app x --secret-file {}", path.display());
        assert_eq!(resolve(&line, &[]).unwrap().secret, "sec ret");
        let by_variable = [("BROKER_SECRET_FILE", path.to_str().unwrap())];
        assert_eq!(resolve("", &by_variable).unwrap().secret, "sec ret");
        fs::write(&path, "\n").unwrap();
        assert!(resolve(&line, &[]).unwrap_err().ends_with("the first line is empty"));
        fs::remove_file(&path).unwrap();
        assert!(resolve(&line, &[]).unwrap_err().contains("No such file"));
        assert!(
            resolve(&format!("{line} --secret s"), &[]).unwrap_err().contains("cannot be used")
        );
    }

    #[test]
    fn an_application_without_its_secret_is_refused() {
        let error = resolve("--app x", &[]).unwrap_err();
        assert!(error.starts_with("application 'x' needs its secret"), "{error}");
    }

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port() {
        for (text, expected) in [
            ("broker", "http://broker:8080"),
            ("broker:81", "http://broker:81"),
            ("[::1]:81", "http://[::1]:81"),
            ("http://broker", "http://broker"),
            ("https://broker:8081/api/v3/", "https://broker:8081"),
        ] {
            assert_eq!(base(text).as_deref(), Ok(expected));
        }
        for (text, expected) in [
            ("ftp://broker", "is not http"),
            ("http://", "is not http"),
            ("a b", "is not http"),
            ("http://a:b@broker", "has credentials"),
            ("http://broker/dashboard", "has a path"),
            ("http://broker/?a=b", "has a path"),
        ] {
            let fault = base(text).unwrap_err();
            assert!(fault.starts_with(expected), "{text}: {fault}");
        }
        let error = resolve("", &[("BROKER_API", "ftp://x")]).unwrap_err();
        assert_eq!(error, "BROKER_API 'ftp://x' is not http[s]://HOST[:PORT]");
    }

    #[test]
    fn format_is_a_table_unless_asked_for_or_called_emqx_ctl() {
        let format = |line: &str, is_emqx_ctl| {
            let words = std::iter::once("test").chain(line.split_whitespace());
            Line::try_parse_from(words).unwrap().options.format(is_emqx_ctl)
        };
        assert_eq!(format("", false), Format::Table);
        assert_eq!(format("", true), Format::Emqx);
        assert_eq!(format("--json", true), Format::Json);
        assert_eq!(format("--format table", true), Format::Table);
        assert_eq!(format("--format emqx", false), Format::Emqx);
    }
}
