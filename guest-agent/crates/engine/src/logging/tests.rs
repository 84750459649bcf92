use errdefs::Classify;

use super::*;
use crate::{
    containers::record::tests::record,
    ports::logging::{FluentdAddress, GelfAddress, LogFormat, SyslogAddress},
};

fn config(driver: &str, options: &[(&str, &str)]) -> LogConfig {
    LogConfig {
        driver: driver.to_owned(),
        config: options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn opened(driver: &str, options: &[(&str, &str)]) -> Result<LogTarget> {
    let mut record = record("web");
    record.config.labels = Some(
        [("team", "a"), ("tier", "b")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
    );
    record.config.env = Some(vec!["MODE=x".to_owned()]);
    record.host.log_config = config(driver, options);
    target(&record, "host", Path::new("/c"))
}

#[test]
fn wrong_options_are_refused_in_dockers_words() {
    for (driver, options, text) in [
        (
            "nope",
            vec![],
            "error looking up logging plugin nope: plugin \"nope\" not found",
        ),
        (
            "json-file",
            vec![("bogus", "1")],
            "unknown log opt 'bogus' for json-file log driver",
        ),
        (
            "local",
            vec![("tag", "1")],
            "unknown log opt 'tag' for log driver local",
        ),
        (
            "syslog",
            vec![("x", "1")],
            "unknown log opt 'x' for syslog log driver",
        ),
        (
            "syslog",
            vec![("syslog-address", "http://h")],
            "unsupported scheme: 'http'",
        ),
        (
            "syslog",
            vec![("syslog-facility", "24")],
            "invalid syslog facility",
        ),
        (
            "syslog",
            vec![("syslog-format", "x")],
            "Invalid syslog format",
        ),
        ("gelf", vec![], "gelf-address is a required parameter"),
        (
            "gelf",
            vec![("gelf-address", "udp://h")],
            "gelf: please provide gelf-address as proto://host:port",
        ),
        (
            "gelf",
            vec![
                ("gelf-address", "tcp://h:1"),
                ("gelf-compression-type", "gzip"),
            ],
            "compression is only supported on UDP",
        ),
        (
            "gelf",
            vec![
                ("gelf-address", "udp://h:1"),
                ("gelf-compression-level", "10"),
            ],
            "unknown value \"10\" for log opt \"gelf-compression-level\" for gelf log driver",
        ),
        (
            "fluentd",
            vec![("fluentd-address", "tcp://h:1/x")],
            "invalid fluentd-address (tcp://h:1/x): should not contain a path element",
        ),
        (
            "fluentd",
            vec![("fluentd-async-reconnect-interval", "11s")],
            "invalid value for fluentd-async-reconnect-interval: value (\"11s\") must be between 100ms and 10s",
        ),
        (
            "journald",
            vec![("x", "1")],
            "unknown log opt 'x' for journald log driver",
        ),
        (
            "json-file",
            vec![("mode", "x")],
            "logger: logging mode not supported: x",
        ),
        (
            "json-file",
            vec![("max-buffer-size", "1m")],
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "json-file",
            vec![("mode", "non-blocking"), ("max-buffer-size", "x")],
            "error parsing option max-buffer-size: invalid size: 'x'",
        ),
        (
            "json-file",
            vec![("cache-disabled", "x")],
            "invalid value for option cache-disabled: x",
        ),
    ] {
        let error = check(&config(driver, &options)).unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::InvalidParameter, text)
        );
    }
    assert!(
        check(&config(
            "json-file",
            &[("max-size", "x"), ("cache-compress", "y")]
        ))
        .is_ok()
    );
    assert!(check(&config("none", &[("x", "y")])).is_ok());
}

#[test]
fn wrong_values_are_found_when_the_log_is_opened() {
    for (driver, options, text) in [
        ("json-file", vec![("max-size", "x")], "invalid size: 'x'"),
        (
            "json-file",
            vec![("max-size", "0")],
            "max-size must be a positive number",
        ),
        (
            "json-file",
            vec![("max-file", "0")],
            "max-file cannot be less than 1",
        ),
        (
            "json-file",
            vec![("max-file", "x")],
            "strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "json-file",
            vec![("compress", "true")],
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        (
            "local",
            vec![("max-file", "1")],
            "compression cannot be enabled when max file count is 1",
        ),
        (
            "json-file",
            vec![("tag", "{{.X}}")],
            "template: log-tag:1:2: executing \"log-tag\" at <.X>: can't evaluate field X in type *logger.Info",
        ),
    ] {
        let error = opened(driver, &options).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::System, text));
    }
}

#[test]
fn json_file_takes_labels_variables_and_a_tag_along() {
    let target = opened(
        "json-file",
        &[
            ("labels", "team,none"),
            ("labels-regex", "^ti"),
            ("env", "MODE"),
            ("tag", "{{.Name}}"),
            ("max-size", "1k"),
            ("max-file", "3"),
            ("compress", "1"),
        ],
    );
    let Ok(LogTarget::File(file)) = target else {
        panic!("{target:?}")
    };
    assert_eq!(
        (file.max_size_bytes, file.max_files, file.compress),
        (Some(1000), 3, true)
    );
    let LogFormat::JsonLines { attributes } = file.format else {
        panic!()
    };
    let shown: Vec<_> = attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(shown, ["MODE=x", "tag=web", "team=a", "tier=b"]);
}

#[test]
fn remote_drivers_have_a_cache_unless_it_is_disabled() {
    let Ok(LogTarget::Remote {
        remote,
        cache: Some(cache),
    }) = opened(
        "syslog",
        &[
            ("syslog-address", "udp://h"),
            ("cache-max-size", "5m"),
            ("mode", "non-blocking"),
        ],
    )
    else {
        panic!()
    };
    assert_eq!(
        (cache.max_size_bytes, cache.max_files, cache.compress),
        (Some(5_000_000), 5, true)
    );
    assert_eq!(remote.buffer_bytes, Some(1_000_000));
    let Protocol::Syslog {
        address,
        facility: 3,
        ..
    } = &remote.protocol
    else {
        panic!()
    };
    assert_eq!(*address, SyslogAddress::Udp("h:514".to_owned()));
    let Ok(LogTarget::Remote {
        remote,
        cache: None,
    }) = opened(
        "gelf",
        &[("gelf-address", "udp://h:1"), ("cache-disabled", "true")],
    )
    else {
        panic!()
    };
    let Protocol::Gelf {
        address: GelfAddress::Udp { level: 1, .. },
        extra,
    } = &remote.protocol
    else {
        panic!()
    };
    assert_eq!(extra["_container_name"], "web");
    let Ok(LogTarget::Remote { remote, .. }) = opened("fluentd", &[("fluentd-address", "h")])
    else {
        panic!()
    };
    let Protocol::Fluentd {
        address, record, ..
    } = &remote.protocol
    else {
        panic!()
    };
    assert_eq!(*address, FluentdAddress::Tcp("h".to_owned(), 24224));
    assert_eq!(record["container_name"], "/web");
    assert!(matches!(
        opened("journald", &[]),
        Ok(LogTarget::Remote { .. })
    ));
}

#[test]
fn the_engines_own_options_are_for_its_own_driver() {
    let defaults = config("local", &[("max-size", "1m"), ("cache-max-file", "2")]);
    let mut none_named = config("", &[("max-size", "2m")]);
    merge_and_check(&mut none_named, &defaults).unwrap();
    assert_eq!(
        none_named,
        config("local", &[("max-size", "2m"), ("cache-max-file", "2")])
    );
    let mut other = config("json-file", &[]);
    merge_and_check(&mut other, &defaults).unwrap();
    assert_eq!(other, config("json-file", &[("cache-max-file", "2")]));
}
