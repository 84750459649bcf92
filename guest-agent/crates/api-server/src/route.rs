//! The route table: every operation of the API by its `operationId` in snake case.

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// `{id}` stands for one segment, `{name...}` for one or more.
    pub pattern: &'static str,
    /// The `operationId`.
    pub operation: &'static str,
}

const fn row(method: &'static str, pattern: &'static str, operation: &'static str) -> Route {
    Route {
        method,
        pattern,
        operation,
    }
}

/// A route that was found, with the value of its placeholder, still percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The route.
    pub route: &'static Route,
    /// What stood in the placeholder's place; empty without one.
    pub name: &'a str,
}

/// Finds the operation for a method and a path without version prefix. A fixed path wins over one with a placeholder.
pub fn find<'a>(method: &str, path: &'a str) -> Option<Found<'a>> {
    let candidates = || ROUTES.iter().filter(|route| route.method == method);
    let fixed = candidates()
        .find(|route| route.pattern == path)
        .map(|route| Found { route, name: "" });
    fixed.or_else(|| {
        candidates()
            .find_map(|route| capture(route.pattern, path).map(|name| Found { route, name }))
    })
}

/// The placeholder's value when the path fits.
fn capture<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let (before, rest) = pattern.split_once('{')?;
    let (placeholder, after) = rest.split_once('}')?;
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    let fits = !name.is_empty() && (placeholder.ends_with("...") || !name.contains('/'));
    fits.then_some(name)
}

/// Whether an operation refuses a query that cannot be read. Docker's others do not look at it, or take what they can of it.
pub fn checks_query(operation: &str) -> bool {
    !matches!(
        operation,
        "container_changes"
            | "container_export"
            | "container_inspect"
            | "exec_inspect"
            | "image_build"
            | "plugin_inspect"
            | "plugin_set"
            | "session"
            | "system_auth"
            | "system_info"
            | "system_ping"
            | "system_ping_head"
            | "system_version"
    )
}

/// Whether an operation needs a swarm.
pub fn needs_swarm(pattern: &str) -> bool {
    [
        "/swarm",
        "/nodes",
        "/services",
        "/tasks",
        "/secrets",
        "/configs",
    ]
    .iter()
    .any(|prefix| pattern.starts_with(prefix))
}

/// All operations of the API description.
pub const ROUTES: &[Route] = &[
    row("GET", "/containers/json", "container_list"),
    row("POST", "/containers/create", "container_create"),
    row("GET", "/containers/{id...}/json", "container_inspect"),
    row("GET", "/containers/{id...}/top", "container_top"),
    row("GET", "/containers/{id...}/logs", "container_logs"),
    row("GET", "/containers/{id...}/changes", "container_changes"),
    row("GET", "/containers/{id...}/export", "container_export"),
    row("GET", "/containers/{id...}/stats", "container_stats"),
    row("POST", "/containers/{id...}/resize", "container_resize"),
    row("POST", "/containers/{id...}/start", "container_start"),
    row("POST", "/containers/{id...}/stop", "container_stop"),
    row("POST", "/containers/{id...}/restart", "container_restart"),
    row("POST", "/containers/{id...}/kill", "container_kill"),
    row("POST", "/containers/{id...}/update", "container_update"),
    row("POST", "/containers/{id...}/rename", "container_rename"),
    row("POST", "/containers/{id...}/pause", "container_pause"),
    row("POST", "/containers/{id...}/unpause", "container_unpause"),
    row("POST", "/containers/{id...}/attach", "container_attach"),
    row(
        "GET",
        "/containers/{id...}/attach/ws",
        "container_attach_websocket",
    ),
    row("POST", "/containers/{id...}/wait", "container_wait"),
    row("DELETE", "/containers/{id...}", "container_delete"),
    row(
        "HEAD",
        "/containers/{id...}/archive",
        "container_archive_info",
    ),
    row("GET", "/containers/{id...}/archive", "container_archive"),
    row(
        "PUT",
        "/containers/{id...}/archive",
        "put_container_archive",
    ),
    row("POST", "/containers/prune", "container_prune"),
    row("GET", "/images/json", "image_list"),
    row("POST", "/build", "image_build"),
    row("POST", "/build/prune", "build_prune"),
    row("POST", "/images/create", "image_create"),
    row("GET", "/images/{name...}/json", "image_inspect"),
    row("GET", "/images/{name...}/history", "image_history"),
    row(
        "GET",
        "/images/{name...}/attestations",
        "image_attestations",
    ),
    row("POST", "/images/{name...}/push", "image_push"),
    row("POST", "/images/{name...}/tag", "image_tag"),
    row("DELETE", "/images/{name...}", "image_delete"),
    row("GET", "/images/search", "image_search"),
    row("POST", "/images/prune", "image_prune"),
    row("POST", "/auth", "system_auth"),
    row("GET", "/info", "system_info"),
    row("GET", "/version", "system_version"),
    row("GET", "/_ping", "system_ping"),
    row("HEAD", "/_ping", "system_ping_head"),
    row("POST", "/commit", "image_commit"),
    row("GET", "/events", "system_events"),
    row("GET", "/system/df", "system_data_usage"),
    row("GET", "/images/{name...}/get", "image_get"),
    row("GET", "/images/get", "image_get_all"),
    row("POST", "/images/load", "image_load"),
    row("POST", "/containers/{id...}/exec", "container_exec"),
    row("POST", "/exec/{id}/start", "exec_start"),
    row("POST", "/exec/{id}/resize", "exec_resize"),
    row("GET", "/exec/{id}/json", "exec_inspect"),
    row("GET", "/volumes", "volume_list"),
    row("POST", "/volumes/create", "volume_create"),
    row("GET", "/volumes/{name}", "volume_inspect"),
    row("PUT", "/volumes/{name}", "volume_update"),
    row("DELETE", "/volumes/{name}", "volume_delete"),
    row("POST", "/volumes/prune", "volume_prune"),
    row("GET", "/networks", "network_list"),
    row("GET", "/networks/{id}", "network_inspect"),
    row("DELETE", "/networks/{id}", "network_delete"),
    row("POST", "/networks/create", "network_create"),
    row("POST", "/networks/{id}/connect", "network_connect"),
    row("POST", "/networks/{id}/disconnect", "network_disconnect"),
    row("POST", "/networks/prune", "network_prune"),
    row("GET", "/plugins", "plugin_list"),
    row("GET", "/plugins/privileges", "get_plugin_privileges"),
    row("POST", "/plugins/pull", "plugin_pull"),
    row("GET", "/plugins/{name...}/json", "plugin_inspect"),
    row("DELETE", "/plugins/{name...}", "plugin_delete"),
    row("POST", "/plugins/{name...}/enable", "plugin_enable"),
    row("POST", "/plugins/{name...}/disable", "plugin_disable"),
    row("POST", "/plugins/{name...}/upgrade", "plugin_upgrade"),
    row("POST", "/plugins/create", "plugin_create"),
    row("POST", "/plugins/{name...}/push", "plugin_push"),
    row("POST", "/plugins/{name...}/set", "plugin_set"),
    row("GET", "/nodes", "node_list"),
    row("GET", "/nodes/{id}", "node_inspect"),
    row("DELETE", "/nodes/{id}", "node_delete"),
    row("POST", "/nodes/{id}/update", "node_update"),
    row("GET", "/swarm", "swarm_inspect"),
    row("POST", "/swarm/init", "swarm_init"),
    row("POST", "/swarm/join", "swarm_join"),
    row("POST", "/swarm/leave", "swarm_leave"),
    row("POST", "/swarm/update", "swarm_update"),
    row("GET", "/swarm/unlockkey", "swarm_unlockkey"),
    row("POST", "/swarm/unlock", "swarm_unlock"),
    row("GET", "/services", "service_list"),
    row("POST", "/services/create", "service_create"),
    row("GET", "/services/{id}", "service_inspect"),
    row("DELETE", "/services/{id}", "service_delete"),
    row("POST", "/services/{id}/update", "service_update"),
    row("GET", "/services/{id}/logs", "service_logs"),
    row("GET", "/tasks", "task_list"),
    row("GET", "/tasks/{id}", "task_inspect"),
    row("GET", "/tasks/{id}/logs", "task_logs"),
    row("GET", "/secrets", "secret_list"),
    row("POST", "/secrets/create", "secret_create"),
    row("GET", "/secrets/{id}", "secret_inspect"),
    row("DELETE", "/secrets/{id}", "secret_delete"),
    row("POST", "/secrets/{id}/update", "secret_update"),
    row("GET", "/configs", "config_list"),
    row("POST", "/configs/create", "config_create"),
    row("GET", "/configs/{id}", "config_inspect"),
    row("DELETE", "/configs/{id}", "config_delete"),
    row("POST", "/configs/{id}/update", "config_update"),
    row(
        "GET",
        "/distribution/{name...}/json",
        "distribution_inspect",
    ),
    row("POST", "/session", "session"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn image_names_may_have_slashes_and_container_names_may_not() {
        let found = find("GET", "/images/library/busybox:1/json").unwrap();
        assert_eq!(
            (found.route.operation, found.name),
            ("image_inspect", "library/busybox:1")
        );
        assert_eq!(find("GET", "/containers/a/b/json").unwrap().name, "a/b");
        assert_eq!(
            find("GET", "/images/json").unwrap().route.operation,
            "image_list"
        );
        assert_eq!(
            find("POST", "/containers/create").unwrap().route.operation,
            "container_create"
        );
        assert_eq!(find("GET", "/containers//json"), None);
    }

    #[test]
    fn the_table_is_that_of_the_api_description() {
        // Facts of the newest version that is served; their own test holds them against the description.
        let facts = include_str!("../../../../tests/crates/api/coverage/operations.tsv");
        let described: BTreeSet<(&str, &str, &str)> = facts
            .lines()
            .skip(1)
            .map(|line| {
                let mut fields = line.split('\t').skip(1);
                let mut field = || fields.next().expect("a field");
                (field(), field(), field())
            })
            .collect();
        let patterns: Vec<_> = ROUTES
            .iter()
            .map(|r| r.pattern.replace("...", ""))
            .collect();
        let table: BTreeSet<(&str, &str, &str)> = ROUTES
            .iter()
            .zip(&patterns)
            .map(|(route, pattern)| (route.method, pattern.as_str(), route.operation))
            .collect();
        assert_eq!(table.len(), ROUTES.len(), "a row stands twice");
        let lacking: Vec<_> = described.difference(&table).collect();
        assert!(lacking.is_empty(), "not in the table: {lacking:?}");
        let invented: Vec<_> = table.difference(&described).collect();
        assert!(invented.is_empty(), "not in the description: {invented:?}");
    }
}
