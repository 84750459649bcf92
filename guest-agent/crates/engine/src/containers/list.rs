//! Lists containers.

use std::collections::{BTreeMap, BTreeSet};

use docker_api::inspect::{
    ContainerSummary, HealthSummary, Port, SummaryHostConfig, SummaryNetworks,
};
use errdefs::{Error, ErrorKind, Result};

use super::{
    container::{Container, Life},
    inspect::shown_mounts,
    record::ContainerRecord,
    state::Phase,
    status::status,
};
use crate::{Engine, spec};

/// Filters: each name with its values.
pub type Filters = BTreeMap<String, BTreeSet<String>>;

/// Filters of a list; another name is refused.
const KNOWN: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];

const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// What to list. Docker API: GET /containers/json.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Those that do not run too.
    pub all: bool,
    /// At most so many of the newest, running or not; 0: all.
    pub limit: usize,
    /// With the sizes of their layers.
    pub size: bool,
    /// Filters.
    pub filters: Filters,
}

impl Engine {
    /// Lists them, newest first.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad filter, in Docker's words.
    pub async fn list_containers(&self, options: &ListOptions) -> Result<Vec<ContainerSummary>> {
        let filters = &options.filters;
        check(filters)?;
        let names = Names::new(values(filters, "name"));
        let bounds = self.bounds(filters)?;
        let ancestors = self.ancestors(filters).await;
        let mut containers: Vec<_> = self
            .containers
            .all()
            .into_iter()
            .map(|container| (container.record(), container))
            .collect();
        containers.sort_by_key(|(record, _)| std::cmp::Reverse(record.created));
        let all = options.all || options.limit > 0 || filters.contains_key("status");
        let ports = Ports::new(filters)?;
        let now = self.ports.world.now();
        let mut link_names = self.link_names();
        let mut shown = Vec::new();
        for (record, container) in containers {
            let links = link_names.remove(&record.id).unwrap_or_default();
            let life = container.life();
            let running = life.state.is_running() || life.state.phase == Phase::Restarting;
            if !all && !running
                || !bounds.contains(&record)
                || !names.match_any(&record.name, &links)
            {
                continue;
            }
            if !fits(filters, &record, &life)
                || !self.fits_networks(filters, &container)
                || !ports.fit(&self.shown_ports(&container))
            {
                continue;
            }
            if !ancestors.is_empty()
                && !record
                    .image
                    .as_ref()
                    .is_some_and(|image| ancestors.contains(image.as_str()))
            {
                continue;
            }
            let mut summary = self.summary(&container, &record, &life, now);
            summary
                .names
                .extend(links.iter().map(|name| format!("/{name}")));
            shown.push(summary);
            if options.limit > 0 && shown.len() == options.limit {
                break;
            }
        }
        self.name_images(&mut shown).await;
        if options.size {
            for summary in &mut shown {
                let Ok(id) = summary.id.parse() else { continue };
                // It may be gone by now.
                if let Ok((own, image)) = self.ports.rootfs.usage(&id).await {
                    (summary.size_rw, summary.size_root_fs) = (Some(own), Some(own + image));
                }
            }
        }
        Ok(shown)
    }

    /// Shows an image by its id where the name that the container was made by is another's now, or nobody's.
    async fn name_images(&self, shown: &mut [ContainerSummary]) {
        let mut ids = BTreeMap::new();
        for summary in shown {
            if !ids.contains_key(&summary.image) {
                let found = self.ports.images.get(&summary.image, None).await;
                let id = found.ok().map(|image| image.target.digest.to_string());
                ids.insert(summary.image.clone(), id);
            }
            let id = ids.get(&summary.image).cloned().flatten();
            if id.as_ref() != Some(&summary.image_id) && !summary.image_id.is_empty() {
                summary.image.clone_from(&summary.image_id);
            }
        }
    }

    fn summary(
        &self,
        container: &Container,
        record: &ContainerRecord,
        life: &Life,
        now: crate::ports::world::Timestamp,
    ) -> ContainerSummary {
        let settings = self.network_settings(container);
        ContainerSummary {
            id: record.id.to_string(),
            names: vec![format!("/{}", record.name)],
            image: record.image_label().to_owned(),
            image_id: record
                .image
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            command: command(&spec::arguments(&record.config)),
            created: record.created.0.div_euclid(1_000_000_000),
            ports: self.shown_ports(container),
            labels: record.config.labels.clone().unwrap_or_default(),
            state: if life.removing {
                "removing"
            } else {
                life.state.word()
            }
            .to_owned(),
            status: status(life, now),
            health: Some(health_summary(life)),
            host_config: SummaryHostConfig {
                network_mode: record.host.network_mode.clone(),
                annotations: record
                    .host
                    .annotations
                    .clone()
                    .filter(|all| !all.is_empty()),
            },
            network_settings: SummaryNetworks {
                networks: settings.networks,
            },
            mounts: shown_mounts(record),
            image_manifest_descriptor: record.image_manifest.clone(),
            ..ContainerSummary::default()
        }
    }

    /// Those of its sandbox: one that does not run has none.
    fn shown_ports(&self, container: &Container) -> Vec<Port> {
        ports(&self.network_settings(container).ports)
    }

    /// What `before` and `since` allow.
    fn bounds(&self, filters: &Filters) -> Result<Bounds> {
        let created = |name: &str| -> Result<Vec<i64>> {
            let found = values(filters, name)
                .map(|value| self.containers.find(value).map(|c| c.record().created.0));
            found.collect()
        };
        Ok(Bounds {
            before: created("before")?.into_iter().min(),
            since: created("since")?.into_iter().max(),
        })
    }

    /// Image ids the `ancestor` filter asks for; an unknown image is asked for in vain.
    async fn ancestors(&self, filters: &Filters) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for value in values(filters, "ancestor") {
            match self.ports.images.get(value, None).await {
                Ok(image) => ids.insert(image.target.digest.to_string()),
                Err(_) => ids.insert(value.to_owned()),
            };
        }
        ids
    }

    fn fits_networks(&self, filters: &Filters, container: &Container) -> bool {
        let Some(wanted) = filters.get("network") else {
            return true;
        };
        let settings = self.network_settings(container);
        wanted.iter().any(|wanted| {
            settings
                .networks
                .iter()
                .any(|(name, end)| name == wanted || end.network_id.starts_with(wanted))
        })
    }
}

struct Bounds {
    before: Option<i64>,
    since: Option<i64>,
}

impl Bounds {
    fn contains(&self, record: &ContainerRecord) -> bool {
        self.before.is_none_or(|before| record.created.0 < before)
            && self.since.is_none_or(|since| record.created.0 > since)
    }
}

/// The `name` filter: regular expressions, as in Docker.
pub(crate) struct Names {
    exact: Vec<String>,
    patterns: Vec<regex_lite::Regex>,
}

impl Names {
    pub(crate) fn new<'a>(patterns: impl Iterator<Item = &'a str>) -> Self {
        let patterns: Vec<&str> = patterns.collect();
        Self {
            // What is no pattern can still be a name.
            exact: patterns.iter().map(|&name| name.to_owned()).collect(),
            patterns: patterns
                .iter()
                .filter_map(|pattern| regex_lite::Regex::new(pattern).ok())
                .collect(),
        }
    }

    pub(crate) fn match_any(&self, name: &str, links: &[String]) -> bool {
        self.matches(name) || links.iter().any(|name| self.matches(name))
    }

    fn matches(&self, name: &str) -> bool {
        let slashed = format!("/{name}");
        self.exact.is_empty()
            || self
                .exact
                .iter()
                .any(|wanted| *wanted == name || *wanted == slashed)
            || self
                .patterns
                .iter()
                .any(|pattern| pattern.is_match(name) || pattern.is_match(&slashed))
    }
}

pub(crate) fn values<'a>(
    filters: &'a Filters,
    name: &str,
) -> impl Iterator<Item = &'a str> + use<'a> {
    filters.get(name).into_iter().flatten().map(String::as_str)
}

/// Refuses filters of containers that make no sense.
pub(crate) fn check(filters: &Filters) -> Result<()> {
    check_names(filters, KNOWN)?;
    for value in values(filters, "status") {
        if !STATES.contains(&value) {
            return Err(invalid(format!(
                "invalid filter 'status={value}': invalid value for state ({value}): must be one of {}",
                STATES.join(", ")
            )));
        }
    }
    for value in values(filters, "health") {
        if !HEALTH.contains(&value) {
            return Err(invalid(format!(
                "invalid filter 'health={value}': invalid value for health ({value}): must be one of {}",
                HEALTH.join(", ")
            )));
        }
    }
    for value in values(filters, "exited") {
        if let Err(why) = whole_number(value) {
            return Err(invalid(format!("invalid filter 'exited={value}': {why}")));
        }
    }
    let tasks: Vec<&str> = values(filters, "is-task").collect();
    if !tasks.is_empty() && !matches!(tasks[..], ["1" | "true"] | ["0" | "false"]) {
        return Err(invalid(format!(
            "invalid filter 'is-task=[{}]'",
            tasks.join(" ")
        )));
    }
    Ok(())
}

/// Refuses filters nobody knows.
///
/// # Errors
/// `InvalidParameter` in Docker's words.
pub fn check_names(filters: &Filters, known: &[&str]) -> Result<()> {
    match filters.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(invalid(format!("invalid filter '{name}'"))),
        None => Ok(()),
    }
}

/// Refuses filters of plugins that nobody knows.
///
/// # Errors
/// `InvalidParameter` in Docker's words.
pub fn check_plugin_filters(filters: &Filters) -> Result<()> {
    check_names(filters, &["enabled", "capability"])?;
    let wanted: Vec<&str> = values(filters, "enabled").collect();
    if !wanted.is_empty() && !matches!(wanted[..], ["1" | "true"] | ["0" | "false"]) {
        let wanted = wanted.join(" ");
        return Err(invalid(format!("invalid filter 'enabled=[{wanted}]'")));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}

/// Filters that look at the container alone.
fn fits(filters: &Filters, record: &ContainerRecord, life: &Life) -> bool {
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
        !filters.contains_key(name) || values(filters, name).any(fits)
    };
    let state = if life.removing {
        "removing"
    } else {
        life.state.word()
    };
    any("id", &|id| record.id.as_str().starts_with(id))
        && any("status", &|wanted| wanted == state)
        && any("exited", &|code| {
            life.state.phase == Phase::Exited && code.parse() == Ok(life.state.exit_code)
        })
        && any("volume", &|wanted| {
            record.mounts.iter().any(|mount| {
                mount.name == wanted || mount.destination == wanted || mount.source == wanted
            })
        })
        && any("health", &|wanted| {
            let health = life.state.health.as_ref();
            wanted == health.map_or("none", |health| health.status.word())
        })
        && any("is-task", &|wanted| !matches!(wanted, "1" | "true"))
        && any("isolation", &|_| true)
        && labels_fit(filters, "label", record.config.labels.as_ref())
}

/// Go's reading of a whole number.
///
/// # Errors
/// Go's text.
pub fn whole_number(text: &str) -> std::result::Result<i64, String> {
    let wrong = |why: &str| format!("strconv.Atoi: parsing {text:?}: {why}");
    text.parse::<i64>().map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
            wrong("value out of range")
        }
        _ => wrong("invalid syntax"),
    })
}

/// The `expose` and `publish` filters: one that fits is enough.
pub(crate) struct Ports {
    exposed: Vec<PortRange>,
    published: Vec<PortRange>,
    asked: bool,
}

/// `80`, `80/tcp` or `80-90/tcp`.
struct PortRange {
    ports: std::ops::RangeInclusive<u16>,
    protocol: String,
}

impl Ports {
    pub(crate) fn new(filters: &Filters) -> Result<Self> {
        let ranges = |name: &str| -> Result<Vec<PortRange>> {
            let system = |text: String| Error::new(ErrorKind::System, text);
            let read = values(filters, name).map(|value| {
                if value.contains(':') {
                    return Err(system(format!(
                        "filter for '{name}' should not contain ':': {value}"
                    )));
                }
                PortRange::parse(value).map_err(|why| {
                    system(format!("error while looking up for {name} {value}: {why}"))
                })
            });
            read.collect()
        };
        let (published, exposed) = (ranges("publish")?, ranges("expose")?);
        Ok(Self {
            asked: !published.is_empty() || !exposed.is_empty(),
            exposed,
            published,
        })
    }

    fn fit(&self, shown: &[Port]) -> bool {
        let any = |ranges: &[PortRange], number: u16, kind: &str| {
            ranges
                .iter()
                .any(|range| range.protocol == kind && range.ports.contains(&number))
        };
        !self.asked
            || shown.iter().any(|port| {
                any(&self.published, port.public_port, &port.kind)
                    || any(&self.exposed, port.private_port, &port.kind)
            })
    }
}

impl PortRange {
    /// The error says why, in Docker's words.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if range.is_empty() {
            return Err("empty string specified for ports".to_owned());
        }
        let number = |text: &str| {
            text.parse::<u16>().map_err(|error| {
                let why = match error.kind() {
                    std::num::IntErrorKind::PosOverflow => "value out of range",
                    _ => "invalid syntax",
                };
                format!("strconv.ParseUint: parsing {text:?}: {why}")
            })
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(format!("Invalid range specified for the Port: {range}"));
        }
        Ok(Self {
            ports: first..=last,
            protocol: if protocol.is_empty() { "tcp" } else { protocol }.to_lowercase(),
        })
    }
}

/// Every label filter (`name` or `name=value`) must fit.
pub(crate) fn labels_fit(
    filters: &Filters,
    filter: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    values(filters, filter).all(|wanted| {
        let (name, value) = wanted
            .split_once('=')
            .map_or((wanted, None), |(name, value)| (name, Some(value)));
        labels
            .and_then(|labels| labels.get(name))
            .is_some_and(|own| value.is_none_or(|value| own == value))
    })
}

/// What its probes say, for a list.
fn health_summary(life: &Life) -> HealthSummary {
    match &life.state.health {
        None => HealthSummary {
            status: "none".to_owned(),
            failing_streak: 0,
        },
        Some(health) => HealthSummary {
            status: health.status.word().to_owned(),
            failing_streak: health.failing_streak,
        },
    }
}

/// The command as one line; an argument with a space or a quote is put in quotes.
fn command(arguments: &[String]) -> String {
    let quoted = arguments.iter().enumerate().map(|(place, argument)| {
        if place > 0
            && (argument.contains(' ') || argument.contains('"') || argument.contains('\''))
        {
            format!("'{}'", argument.replace('\'', "'\\''"))
        } else {
            argument.clone()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn ports(published: &docker_api::PortMap) -> Vec<Port> {
    let mut ports = BTreeSet::new();
    for (port, ends) in published {
        let (number, kind) = port.split_once('/').unwrap_or((port, "tcp"));
        let Ok(private_port) = number.parse() else {
            continue;
        };
        let unpublished = Port {
            private_port,
            kind: kind.to_owned(),
            ..Port::default()
        };
        let Some(ends) = ends.as_ref().filter(|ends| !ends.is_empty()) else {
            ports.insert(unpublished);
            continue;
        };
        for end in ends {
            ports.insert(Port {
                ip: end.host_ip.clone(),
                public_port: end.host_port.parse().unwrap_or(0),
                ..unpublished.clone()
            });
        }
    }
    ports.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        let mut filters = Filters::new();
        for (name, value) in pairs {
            filters
                .entry((*name).to_owned())
                .or_default()
                .insert((*value).to_owned());
        }
        filters
    }

    #[test]
    fn unknown_filters_and_states_are_refused_in_dockers_words() {
        let refused = |pairs| check(&filters(pairs)).unwrap_err().message().to_owned();
        assert_eq!(refused(&[("foo", "x")]), "invalid filter 'foo'");
        assert_eq!(
            refused(&[("status", "bogus")]),
            "invalid filter 'status=bogus': invalid value for state (bogus): must be one of created, running, paused, restarting, removing, exited, dead"
        );
    }

    #[test]
    fn names_match_with_and_without_slash() {
        let names = Names::new(["^/web$"].into_iter());
        assert!(names.matches("web") && !names.matches("web2"));
        let names = Names::new(["eb"].into_iter());
        assert!(names.matches("web2") && !names.matches("db"));
    }

    #[test]
    fn labels_must_all_fit() {
        let labels = BTreeMap::from([
            ("a".to_owned(), "b".to_owned()),
            ("c".to_owned(), String::new()),
        ]);
        let fit = |pairs| labels_fit(&filters(pairs), "label", Some(&labels));
        assert!(fit(&[("label", "a=b"), ("label", "c")]));
        assert!(!fit(&[("label", "a=x")]));
        assert!(!fit(&[("label", "a"), ("label", "d")]));
    }

    #[test]
    fn a_command_is_one_line() {
        let line = command(&["sh".into(), "-c".into(), "echo x".into()]);
        assert_eq!(line, "sh -c 'echo x'");
    }

    #[test]
    fn ports_and_ranges_are_compared() {
        let port = |kind: &str, private_port, public_port| Port {
            kind: kind.to_owned(),
            private_port,
            public_port,
            ..Port::default()
        };
        let fit = |pairs, ports: &[Port]| Ports::new(&filters(pairs)).unwrap().fit(ports);
        assert!(fit(&[], &[]));
        assert!(fit(&[("expose", "80")], &[port("tcp", 80, 0)]));
        assert!(fit(&[("expose", "70-90/udp")], &[port("udp", 81, 0)]));
        assert!(!fit(&[("expose", "80/udp")], &[port("tcp", 80, 0)]));
        assert!(fit(&[("publish", "8080")], &[port("tcp", 80, 8080)]));
        assert!(!fit(&[("publish", "80")], &[port("tcp", 80, 8080)]));
        let refused = |pair| {
            Ports::new(&filters(&[pair]))
                .err()
                .unwrap()
                .message()
                .to_owned()
        };
        assert_eq!(
            refused(("expose", "x")),
            "error while looking up for expose x: strconv.ParseUint: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            refused(("publish", "1:1")),
            "filter for 'publish' should not contain ':': 1:1"
        );
        assert_eq!(
            refused(("publish", "90-80")),
            "error while looking up for publish 90-80: Invalid range specified for the Port: 90-80"
        );
    }

    #[test]
    fn numbers_and_flags_are_refused_in_gos_words() {
        let refused = |pairs| check(&filters(pairs)).unwrap_err().message().to_owned();
        assert_eq!(
            refused(&[("exited", "x")]),
            "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"
        );
        assert_eq!(refused(&[("is-task", "x")]), "invalid filter 'is-task=[x]'");
    }
}
