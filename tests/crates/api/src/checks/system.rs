//! Who the engine says it is, and logins by the API.

use anyhow::ensure;
use serde_json::{Value, json};

use super::{checks, raw};
use crate::Bed;

checks![
    a_ping_is_answered_whatever_is_asked_with,
    the_version_names_what_may_be_spoken,
    a_login_says_what_is_wrong_with_it,
];

fn a_ping_is_answered_whatever_is_asked_with(bed: &Bed) -> anyhow::Result<()> {
    for path in ["/_ping", "/v1.24/_ping"] {
        ensure!(raw::get(bed, path)? == (200, "OK".into()), "{path}");
    }
    ensure!(raw::request(bed, "HEAD", "/_ping", "")? == (200, String::new()));
    let (status, body) = raw::get(bed, "/v1.20/_ping")?;
    ensure!(
        status == 400
            && body.trim_end()
                == "client version 1.20 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
        "{status} {body:?}"
    );
    let (status, body) = raw::request(bed, "POST", "/_ping", "")?;
    ensure!(
        status == 404 && body.contains("page not found"),
        "{status} {body:?}"
    );
    Ok(())
}

fn the_version_names_what_may_be_spoken(bed: &Bed) -> anyhow::Result<()> {
    let (status, body) = raw::get(bed, "/version")?;
    let shown: Value = serde_json::from_str(&body)?;
    let engine = &shown["Components"][0];
    ensure!(
        status == 200
            && shown["ApiVersion"] == "1.51"
            && shown["MinAPIVersion"] == "1.24"
            && shown["Os"] == "linux"
            && shown["KernelVersion"].is_string(),
        "{status} {body}"
    );
    ensure!(
        engine["Name"] == "Engine"
            && engine["Version"] == shown["Version"]
            && engine["Details"]["ApiVersion"] == "1.51",
        "{body}"
    );
    Ok(())
}

fn a_login_says_what_is_wrong_with_it(bed: &Bed) -> anyhow::Result<()> {
    let address = bed.private_registry.address();
    let url = format!("http://{address}/v2/");
    let login = |user: &str, password: &str, server: &str| {
        json!({"username": user, "password": password, "serveraddress": server}).to_string()
    };
    let wrong = format!("login attempt to {url} failed with status: 401 Unauthorized");
    let nobody = format!("Get \"{url}\": no basic auth credentials");
    for (body, want) in [
        (String::new(), "EOF"),
        ("{".into(), "unexpected EOF"),
        (login("tester", "wrong", &address), &wrong),
        (
            login("tester", "wrong", &format!("http://{address}")),
            &wrong,
        ),
        (login("", "", &address), &nobody),
        (
            login("u", "p", "127.0.0.1:1"),
            "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
        ),
    ] {
        let (status, answer) = raw::request(bed, "POST", "/auth", &body)?;
        let said: Value = serde_json::from_str(&answer)?;
        ensure!(
            status == 500 && said == json!({"message": want}),
            "{body}: {status} {answer}"
        );
    }
    let other_way = json!({
        "Username": "tester", "Password": "secret", "ServerAddress": address,
        "email": null, "identitytoken": null, "registrytoken": null,
    });
    for body in [login("tester", "secret", &address), other_way.to_string()] {
        let (status, answer) = raw::request(bed, "POST", "/auth", &body)?;
        let said: Value = serde_json::from_str(&answer)?;
        ensure!(
            status == 200 && said == json!({"IdentityToken": "", "Status": "Login Succeeded"}),
            "{body}: {status} {answer}"
        );
    }
    Ok(())
}
