//! `GET /events`: what is told, from a moment on or until one, and who wants to hear what.

use std::{collections::VecDeque, sync::Arc};

use axum::body::Body;
use docker_api::EventMessage;
use engine::{Engine, containers::prune::moment, ports::world::Timestamp};
use errdefs::{Error, ErrorKind, Result};
use http::header::ACCEPT;

use super::{Answer, line, streaming};
use crate::{call::Call, compat, query::Filters, version::ApiVersion};

/// Filters that fit the start of an actor's id or name, whatever its type is.
const BY_NAME: [&str; 9] = [
    "config",
    "container",
    "daemon",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
];
/// Actions that are told with more after a colon: when one of them is asked for, the start of an action is enough.
const LONG_ACTIONS: [&str; 3] = ["health_status", "exec_create", "exec_start"];

/// Since then a client chooses the form.
const CHOICE_SINCE: ApiVersion = ApiVersion::v1(52);

pub(super) fn events(engine: &Arc<Engine>, call: &Call) -> Answer {
    let (since, until) = (time(engine, call, "since")?, time(engine, call, "until")?);
    let filters = call.query.filters()?;
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        let given = |name: &str| call.query.get(name).unwrap_or_default().to_owned();
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "`since` time ({}) cannot be after `until` time ({})",
                given("since"),
                given("until")
            ),
        ));
    }
    let mut listener = engine.events().listen();
    let mut kept: VecDeque<_> = std::mem::take(&mut listener.kept).into();
    if since.is_none() && until.is_none() {
        kept.clear();
    }
    let from = since.unwrap_or_default();
    kept.retain(|event| event.time_nano >= from.0);
    let engine = Arc::clone(engine);
    let (version, form) = (call.version, Form::of(call));
    let fits = move |event: &EventMessage| {
        fits(&filters, event) && until.is_none_or(|until| event.time_nano <= until.0)
    };
    let stream = futures_util::stream::unfold(
        (listener, kept, engine),
        move |(mut listener, mut kept, engine)| {
            let fits = fits.clone();
            async move {
                loop {
                    let event = match kept.pop_front() {
                        Some(event) => event,
                        None => engine.next_event(&mut listener, until).await?,
                    };
                    if fits(&event)
                        && let Some(event) = compat::event(&event, version)
                    {
                        return Some((
                            Ok::<_, std::io::Error>(form.write(&event)),
                            (listener, kept, engine),
                        ));
                    }
                }
            }
        },
    );
    streaming(form.content_type(), Body::from_stream(stream))
}

/// How events follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Lines, under the name of one JSON text: so clients before 1.52 have it.
    Json,
    /// Lines. Spec: jsonlines.org.
    Lines,
    /// Lines. Spec: ndjson.
    NewlineDelimited,
    /// Each begins with a record separator. Spec: RFC 7464.
    Sequence,
}

impl Form {
    /// What the client accepts, else the version's own.
    fn of(call: &Call) -> Self {
        if call.version < CHOICE_SINCE {
            return Self::Json;
        }
        let accepted = call.headers.get_all(ACCEPT).iter();
        let mut accepted = accepted
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|range| range.split(';').next().unwrap_or_default().trim());
        accepted
            .find_map(|name| {
                [Self::Lines, Self::NewlineDelimited, Self::Sequence]
                    .into_iter()
                    .find(|form| form.content_type() == name)
            })
            .unwrap_or(Self::Lines)
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/jsonl",
            Self::NewlineDelimited => "application/x-ndjson",
            Self::Sequence => "application/json-seq",
        }
    }

    fn write(self, event: &EventMessage) -> bytes::Bytes {
        let text = line(event);
        if self == Self::Sequence {
            return [b"\x1e", &text[..]].concat().into();
        }
        text
    }
}

fn time(engine: &Engine, call: &Call, name: &str) -> Result<Option<Timestamp>> {
    match call.query.get(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => moment(text, engine.now()).map(Some).ok_or_else(|| {
            let seconds = text.split('.').next().unwrap_or_default();
            Error::new(
                ErrorKind::System,
                format!("strconv.ParseInt: parsing {seconds:?}: invalid syntax"),
            )
        }),
    }
}

/// Each filter that is named must fit in one of its values, labels in all. Names that nobody knows are passed over, as in Docker.
fn fits(filters: &Filters, event: &EventMessage) -> bool {
    let attributes = &event.actor.attributes;
    let attribute = |name: &str| attributes.get(name).map_or("", String::as_str);
    filters
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .all(|(name, values)| {
            let mut each = values.iter().map(String::as_str);
            match name.as_str() {
                "event" if LONG_ACTIONS.iter().any(|action| values.contains(*action)) => {
                    each.any(|value| event.action.starts_with(value))
                }
                "event" => values.contains(&event.action),
                "type" => values.contains(&event.kind),
                "scope" => values.contains(&event.scope),
                "image" => {
                    let own = if event.kind == "image" {
                        "name"
                    } else {
                        "image"
                    };
                    let (id, image) = (event.actor.id.as_str(), attribute(own));
                    [id, image, without_tag(id), without_tag(image)]
                        .iter()
                        .any(|own| values.contains(*own))
                }
                "label" => each.all(|value| {
                    let (label, wanted) = value
                        .split_once('=')
                        .map_or((value, None), |(label, wanted)| (label, Some(wanted)));
                    attributes
                        .get(label)
                        .is_some_and(|own| wanted.is_none_or(|wanted| own == wanted))
                }),
                name if BY_NAME.contains(&name) => each.any(|value| {
                    event.actor.id.starts_with(value) || attribute("name").starts_with(value)
                }),
                _ => true,
            }
        })
}

/// A reference's familiar name: no tag, no digest, no registry that is meant anyway.
fn without_tag(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or_default();
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let name = match name[last..].find(':') {
        Some(colon) => &name[..last + colon],
        None => name,
    };
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use docker_api::EventActor;

    fn event(kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) -> EventMessage {
        EventMessage {
            kind: kind.to_owned(),
            action: action.to_owned(),
            scope: "local".to_owned(),
            actor: EventActor {
                id: id.to_owned(),
                attributes: attributes
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            },
            ..EventMessage::default()
        }
    }

    fn filters(all: &[(&str, &str)]) -> Filters {
        let mut filters = Filters::new();
        for (name, value) in all {
            let values = filters.entry((*name).to_owned()).or_default();
            values.insert((*value).to_owned());
        }
        filters
    }

    #[test]
    fn filters_are_dockers() {
        let attributes = [
            ("image", "docker.io/library/img:1"),
            ("name", "web"),
            ("team", "a"),
        ];
        let exec = event(
            "container",
            "exec_start: sh",
            "0123456789abcdef",
            &attributes,
        );
        for (wanted, fit) in [
            (&[][..], true),
            (&[("event", "exec_start")], true),
            (&[("event", "exec_start"), ("event", "die")], true),
            (&[("event", "exec")], false),
            (&[("type", "container")], true),
            (&[("type", "image")], false),
            (&[("type", "image"), ("type", "container")], true),
            (&[("container", "we")], true),
            (&[("container", "0123")], true),
            (&[("container", "x")], false),
            (&[("network", "x")], false),
            (&[("image", "img")], true),
            (&[("image", "im")], false),
            (&[("label", "team"), ("label", "team=a")], true),
            (&[("label", "team=b")], false),
            (&[("scope", "swarm")], false),
            (&[("nonsense", "x")], true),
        ] {
            assert_eq!(fits(&filters(wanted), &exec), fit, "{wanted:?}");
        }
        let pull = event("image", "pull", "img:1", &[("name", "img")]);
        assert!(fits(&filters(&[("image", "img")]), &pull));
        assert!(fits(&filters(&[("image", "img:1")]), &pull));
    }
}
