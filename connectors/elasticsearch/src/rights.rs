//! What the user may do with the indices of an output, asked before anything is done: a commit that finds out is too late, as other
//! outputs have published the batch by then.

use crate::client::Client;
use crate::failure::{Failure, Place};
use serde_json::{Value, json};
use tidegate_core::{Error, Result};

/// What names of staging indices look like.
const STAGING: &str = "tidegate-staging-*";

/// An index, and the privileges that are needed on it.
pub(crate) struct Need {
    name: String,
    privileges: Vec<&'static str>,
    /// The name as it stands in a role.
    shown: String,
}

impl Need {
    /// Of the index that documents are written to, or of one for dead letters.
    pub(crate) fn of_index(name: &str) -> Need {
        let privileges = vec!["view_index_metadata", "write"];
        Need { name: name.to_owned(), privileges, shown: name.to_owned() }
    }

    /// And this one too, `if` that is so.
    pub(crate) fn and(mut self, privilege: &'static str, is_needed: bool) -> Need {
        if is_needed {
            self.privileges.push(privilege);
        }
        self
    }

    /// Of a staging index, or the alias of one.
    pub(crate) fn of_staging(name: &str) -> Need {
        Need { name: name.to_owned(), privileges: vec!["manage", "write"], shown: STAGING.to_owned() }
    }
}

/// Refuses what the user lacks. A server without security lets everybody do everything.
///
/// # Errors
/// As a call; and `Reconfigure` with the user, each privilege that is missing, and what a role would need.
pub(crate) fn check(client: &Client, place: &str, needs: &[Need]) -> Result<()> {
    let asked: Vec<Value> =
        needs.iter().map(|need| json!({ "names": [need.name], "privileges": need.privileges })).collect();
    let body = json!({ "index": asked });
    let told = match client.call("POST", "_security/user/_has_privileges", Some(&body)) {
        // It has no security, or does not say; what is missing is told by what fails then.
        Err(Failure::Refused(refusal)) if matches!(refusal.status, 400 | 403 | 404 | 405) => {
            log::debug!("{place}: privileges are not told: {refusal}");
            return Ok(());
        }
        told => told.at(place, "privileges can't be asked for")?,
    };
    match missing(&told, needs) {
        Some(text) => Err(Error::reconfigure(format!("{place}: {text}"))),
        None => Ok(()),
    }
}

fn missing(told: &Value, needs: &[Need]) -> Option<String> {
    let mut lacking: Vec<String> = Vec::new();
    let mut role: Vec<Value> = Vec::new();
    for need in needs {
        let lacks = |privilege: &&&str| told["index"][&need.name][**privilege] == json!(false);
        let missing: Vec<&str> = need.privileges.iter().filter(lacks).copied().collect();
        if missing.is_empty() {
            continue;
        }
        let lack = format!("{} on {}", missing.join(" and "), need.shown);
        if !lacking.contains(&lack) {
            lacking.push(lack);
            role.push(json!({ "names": [need.shown], "privileges": need.privileges }));
        }
    }
    if lacking.is_empty() {
        return None;
    }
    let user = told["username"].as_str().unwrap_or("");
    Some(format!(
        "user {user} lacks the privileges {}; add to its role, or to that of its API key: {}",
        lacking.join(", "),
        json!({ "indices": role })
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_once_with_what_a_role_needs() {
        let needs = [
            Need::of_index("words").and("create_index", false).and("maintenance", true),
            Need::of_staging("tidegate-staging-words-1"),
            Need::of_staging("tidegate-staging-words-1-alias"),
        ];
        let staging = json!({ "manage": false, "write": false });
        let mut told = json!({ "username": "ann", "index": {
            "words": { "view_index_metadata": true, "write": false, "maintenance": true },
            "tidegate-staging-words-1": staging, "tidegate-staging-words-1-alias": staging } });
        let text = missing(&told, &needs).unwrap();
        assert!(
            text.starts_with(
                "user ann lacks the privileges write on words, manage and write on tidegate-staging-*; add to its role"
            ),
            "{text}"
        );
        let (_, role) = text.split_once("API key: ").unwrap();
        let role: Value = serde_json::from_str(role).unwrap();
        let words =
            json!({ "names": ["words"], "privileges": ["view_index_metadata", "write", "maintenance"] });
        let staging = json!({ "names": ["tidegate-staging-*"], "privileges": ["manage", "write"] });
        assert_eq!(role["indices"], json!([words, staging]));
        told["index"] = json!({});
        assert_eq!(missing(&told, &needs), None);
    }
}
