//! Where a server is, and what may be shown of it.

use postgres::Config;
use postgres::config::{Host, SslMode};
use std::time::Duration;
use tidegate_core::{Error, Result};

/// Options that psql and other clients know and this one does not. Only these are ever named in a message: what follows a stray
/// `?` in a password would be taken for an option, too.
const FOREIGN_OPTIONS: [&str; 12] = [
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslsni",
    "passfile",
    "service",
    "krbsrvname",
    "gssencmode",
    "client_encoding",
    "fallback_application_name",
];

/// A server and a database, with everything that is needed to log in.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    /// `localhost:5432, database counts`. Never the user's password.
    pub(super) shown: String,
}

impl Address {
    /// Reads a URL: `postgres://user:password@host:5432/database`.
    ///
    /// # Errors
    /// It can't be read, or asks for TLS. The message holds nothing of the URL.
    pub(super) fn parse(url: &str) -> Result<Address> {
        if asks_for_tls(url) {
            return Err(no_tls());
        }
        let mut config: Config = url.parse().map_err(|error: postgres::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            unreadable(FOREIGN_OPTIONS.iter().find(|option| cause.contains(&format!("`{option}`"))))
        })?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(no_tls());
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::reconfigure(
                "the PostgreSQL URL names no host: it is postgres://user:password@host:5432/database",
            ));
        }
        bound_the_waiting(&mut config);
        let shown = shown(&config);
        if shown.contains('@') {
            // The rest of a password with an `@` that was not escaped, which would be shown for the host.
            return Err(unreadable(None));
        }
        Ok(Address { config, shown })
    }
}

fn unreadable(foreign: Option<&&str>) -> Error {
    let detail = foreign.map_or(String::new(), |option| format!(" (the option {option} is not known here)"));
    Error::reconfigure(format!(
        "the PostgreSQL URL can't be read{detail}: it is postgres://user:password@host:5432/database, with special \
         characters of the password written as %40 and the like"
    ))
}

/// A server that vanished without a word is noticed within a minute, not within the hours that TCP takes by itself.
fn bound_the_waiting(config: &mut Config) {
    const TCP_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(Duration::from_secs(30));
    }
    if config.get_keepalives_idle() == TCP_DEFAULT {
        config.keepalives_idle(Duration::from_secs(20)).keepalives_interval(Duration::from_secs(10));
        config.keepalives_retries(3);
    }
    if config.get_application_name().is_none() {
        config.application_name("tidegate");
    }
}

fn asks_for_tls(url: &str) -> bool {
    ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"].iter().any(|mode| {
        // After the `?`, or in the form `host=... sslmode=...`; never within a password.
        url.rsplit_once('@').map_or(url, |(_, rest)| rest).split(['?', '&', ' ']).any(|part| part == *mode)
    })
}

fn no_tls() -> Error {
    Error::reconfigure(
        "the PostgreSQL URL asks for TLS (sslmode), which this build does not have: take it out on a network you trust, or \
         connect through a tunnel or a proxy on this machine that speaks TLS",
    )
}

fn shown(config: &Config) -> String {
    let ports = config.get_ports();
    let mut hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    if hosts.is_empty() {
        hosts = config.get_hostaddrs().iter().map(ToString::to_string).collect();
    }
    let port = |place: usize| ports.get(place).or_else(|| ports.first()).copied().unwrap_or(5432);
    let hosts: Vec<String> =
        hosts.iter().enumerate().map(|(place, host)| format!("{host}:{}", port(place))).collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or("of the user's name");
    format!("{}, database {database}", hosts.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        let Err(error) = Address::parse(url) else { panic!("{url} was taken") };
        assert_eq!(error.kind(), tidegate_core::ErrorKind::Reconfigure);
        error.to_string()
    }

    #[test]
    fn what_is_shown_of_a_url_is_where_the_server_is() {
        let table = [
            ("postgres://ann:s3cret@db.example:6543/counts", "db.example:6543, database counts"),
            ("postgresql://ann:s3cret@localhost/counts?connect_timeout=3", "localhost:5432, database counts"),
            ("postgres://ann:s3cret@a:1,b:2/counts", "a:1 or b:2, database counts"),
            ("host=localhost user=ann password=s3cret dbname=counts", "localhost:5432, database counts"),
            ("postgres://ann:s3cret@localhost", "localhost:5432, database ann"),
        ];
        for (url, shown) in table {
            assert_eq!(Address::parse(url).unwrap().shown, shown);
        }
    }

    #[test]
    fn a_url_that_can_not_be_read_is_not_repeated() {
        let how = "it is postgres://user:password@host:5432/database, with special characters of the password written as \
                   %40 and the like";
        for url in ["postgres://ann:s3cret/x@localhost:x/db", "s3cret"] {
            assert_eq!(refusal(url), format!("the PostgreSQL URL can't be read: {how}"));
        }
        assert_eq!(
            refusal("postgres://ann:s3cret@localhost/db?sslrootcert=ca.pem"),
            format!("the PostgreSQL URL can't be read (the option sslrootcert is not known here): {how}")
        );
        assert_eq!(
            refusal("user=ann password=s3cret"),
            "the PostgreSQL URL names no host: it is postgres://user:password@host:5432/database"
        );
    }

    #[test]
    fn tls_is_refused_and_never_left_out_silently() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let text =
                refusal(&format!("postgres://ann:s3cret@localhost/db?connect_timeout=3&sslmode={mode}"));
            assert!(
                text.starts_with("the PostgreSQL URL asks for TLS (sslmode), which this build does not have"),
                "{text}"
            );
        }
        assert!(Address::parse("postgres://ann:s3cret@localhost/db?sslmode=disable").is_ok());
    }
}
