//! Certificates for tests of TLS, made by the keytool that comes with Java: an authority, and whom it vouches for.
//!
//! Keys are on an elliptic curve: made in no time. The files are for whoever may read the directory, and so is [`PASSWORD`]: never
//! use them for anything but tests.

use crate::error::Tried;
use crate::needs::{self, Need};
use crate::{ServerError, java};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Opens every PKCS12 file that is made here.
pub const PASSWORD: &str = "only-for-tests";

const DAYS: &str = "3650";
const AUTHORITY: &str = "authority";

/// A certificate authority whose files are in a directory of its own.
#[derive(Debug, Clone)]
pub struct Authority {
    dir: PathBuf,
}

/// A key, and the certificate of an [`Authority`] for it.
#[derive(Debug, Clone)]
pub struct Identity {
    dir: PathBuf,
    name: String,
}

impl Authority {
    /// Makes one, with a key that nobody else has. Nothing may be in `dir` yet.
    pub fn make(dir: &Path) -> Result<Self, ServerError> {
        fs::create_dir_all(dir).tried(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize().tried(|| format!("cannot find {}", dir.display()))?;
        let authority = Authority { dir };
        authority.generate(AUTHORITY, &["-ext", "bc:c"])?;
        let (keys, certificate) = (authority.keys(), authority.certificate());
        let file = ["-alias", AUTHORITY, "-file", &text(&certificate)];
        keytool(
            "-exportcert",
            &[&["-rfc", "-keystore", &text(&keys), "-storepass", PASSWORD], &file[..]].concat(),
        )?;
        let trusted =
            ["-keystore", &text(&authority.truststore()), "-storetype", "PKCS12", "-storepass", PASSWORD];
        keytool("-importcert", &[&["-noprompt"], &trusted[..], &file[..]].concat())?;
        Ok(authority)
    }

    /// A new key with a certificate for `name`, good for servers at `hosts`: each `dns:NAME` or `ip:ADDRESS`; none for a client.
    pub fn vouch_for(&self, name: &str, hosts: &[&str]) -> Result<Identity, ServerError> {
        let hosts = format!("san={}", hosts.join(","));
        let named: &[&str] = if hosts == "san=" { &[] } else { &["-ext", &hosts] };
        self.generate(name, &[&["-signer", AUTHORITY], named].concat())?;
        let identity = Identity { dir: self.dir.clone(), name: name.to_owned() };
        let (keys, file) = (text(&self.keys()), identity.pkcs12());
        let from = ["-srckeystore", &keys, "-srcstorepass", PASSWORD, "-srcalias", name];
        let to = ["-destkeystore", &text(&file), "-deststoretype", "PKCS12", "-deststorepass", PASSWORD];
        keytool("-importkeystore", &[&["-noprompt"], &from[..], &to[..]].concat())?;
        let lines = java::pem_of(&file, PASSWORD, name)?;
        let chain_begins =
            lines.iter().position(|line| line.contains("BEGIN CERTIFICATE")).unwrap_or(lines.len());
        for (path, lines) in
            [(identity.key(), &lines[..chain_begins]), (identity.certificate(), &lines[chain_begins..])]
        {
            fs::write(&path, lines.join("\n") + "\n").tried(|| format!("cannot write {}", path.display()))?;
        }
        Ok(identity)
    }

    /// The file with its certificate, in PEM: what clients are told to trust.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("authority.pem")
    }

    /// The same as a PKCS12 file: what Java's programs are told to trust.
    pub fn truststore(&self) -> PathBuf {
        self.dir.join("truststore.p12")
    }

    /// All keys that it has made, its own too.
    fn keys(&self) -> PathBuf {
        self.dir.join("keys.p12")
    }

    fn generate(&self, name: &str, more: &[&str]) -> Result<(), ServerError> {
        let (keys, subject) = (text(&self.keys()), format!("CN={name}"));
        let key = [
            "-keyalg",
            "EC",
            "-groupname",
            "secp256r1",
            "-dname",
            &subject,
            "-validity",
            DAYS,
            "-alias",
            name,
        ];
        let store = ["-keystore", &keys, "-storetype", "PKCS12", "-storepass", PASSWORD];
        keytool("-genkeypair", &[&key[..], &store[..], more].concat())
    }
}

impl Identity {
    /// Key and certificates in one file, which [`PASSWORD`] opens.
    pub fn pkcs12(&self) -> PathBuf {
        self.dir.join(format!("{}.p12", self.name))
    }

    /// The certificate, and after it that of the authority, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// The key in PEM, without a password.
    pub fn key(&self) -> PathBuf {
        self.dir.join(format!("{}.key", self.name))
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// As a module of java: there may be no link to keytool.
fn keytool(what: &str, arguments: &[&str]) -> Result<(), ServerError> {
    Need::Java.check()?;
    let mut java = Command::new(needs::java());
    java.args(["-XX:TieredStopAtLevel=1", "-m", "java.base/sun.security.tools.keytool.Main", what])
        .args(arguments);
    let output = java.output().tried(|| "cannot start java".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    // It tells what is wrong to its standard output.
    let said = [output.stdout, output.stderr].concat();
    let cause = String::from_utf8_lossy(&said).trim().to_owned();
    Err(ServerError::Client { what: format!("keytool {what}"), cause })
}
