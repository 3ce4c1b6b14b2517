//! Where a server is, and what may be shown of it.

use tidegate_core::{Error, Result};

const PORT: u16 = 9200;

/// The URL of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `http://host:port/prefix`, without a slash at the end.
    pub(crate) base: String,
    /// `host:port/prefix`.
    pub(crate) shown: String,
    pub(crate) is_tls: bool,
}

impl Address {
    /// Reads `http://host:9200` or `https://host:9200/behind/a/proxy`.
    ///
    /// # Errors
    /// It can't be read, or holds a password. The message holds nothing of the URL.
    pub(crate) fn parse(url: &str) -> Result<Address> {
        let refuse = |text: &str| {
            Err(Error::reconfigure(format!(
                "the URL of Elasticsearch {text}: it is http://host:9200 or https://host:9200"
            )))
        };
        let (is_tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return refuse("can't be read"),
        };
        if rest.contains('@') {
            return refuse("holds a user; give user and password by basic_auth()");
        }
        if rest.contains(['?', '#', ' ']) {
            return refuse("can't be read");
        }
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let authority = match authority.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if !port.ends_with(']') => match port.parse::<u16>() {
                Ok(_) if !host.is_empty() => authority.to_owned(),
                _ => return refuse("can't be read"),
            },
            _ if authority.is_empty() => return refuse("names no host"),
            _ => format!("{authority}:{PORT}"),
        };
        let shown = if prefix.is_empty() { authority } else { format!("{authority}/{prefix}") };
        let scheme = if is_tls { "https" } else { "http" };
        Ok(Address { base: format!("{scheme}://{shown}"), shown, is_tls })
    }
}

/// A name as it stands in the path of a URL.
pub(crate) fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Refuses what is no name of one index: patterns and lists, of which Elasticsearch would take several.
///
/// # Errors
/// `Reconfigure` with the rule.
pub(crate) fn check_index(name: &str) -> Result<()> {
    let is_odd = |c: char| c.is_uppercase() || c.is_control() || " \\/*?\"<>|,#:".contains(c);
    if name.is_empty() || name.len() > 255 || name.starts_with(['-', '_', '+', '.']) || name.contains(is_odd)
    {
        return Err(Error::reconfigure(format!(
            "{name:?} can't be the name of an index: it has 1 to 255 bytes, no capital letters, spaces or any of \
             \\/*?\"<>|,#: and does not begin with - _ + or ."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_where_the_server_is() {
        for (url, base, shown) in [
            ("http://es.example", "http://es.example:9200", "es.example:9200"),
            ("https://es.example:443/logs/", "https://es.example:443/logs", "es.example:443/logs"),
            ("http://[::1]", "http://[::1]:9200", "[::1]:9200"),
            ("http://[::1]:9201", "http://[::1]:9201", "[::1]:9201"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.base.as_str(), address.shown.as_str()), (base, shown));
        }
    }

    #[test]
    fn a_url_that_is_refused_is_not_repeated() {
        for url in [
            "s3cret",
            "ftp://s3cret",
            "http://",
            "http://ann:s3cret@es",
            "http://es:s3cret",
            "http://e?s3cret",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(!error.contains("s3cret") && error.ends_with("https://host:9200"), "{error}");
        }
    }

    #[test]
    fn a_name_is_that_of_one_index() {
        for name in ["", "a,b", "a*", "_all", "<a-{now}>", "Words", "a b"] {
            assert!(check_index(name).is_err(), "{name}");
        }
        check_index("words-2026.01_a").unwrap();
        check_index("w\u{f6}rter").unwrap();
        assert_eq!(escaped("w\u{f6}rter"), "w%C3%B6rter");
    }
}
