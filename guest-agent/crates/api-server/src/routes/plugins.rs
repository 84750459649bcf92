//! Plugins: there are none, and none can be installed.

use engine::{Engine, containers::list::check_plugin_filters};
use errdefs::{Error, ErrorKind};

use super::{Answer, json, not_there};
use crate::call::Call;

pub(super) async fn answer(_: &Engine, call: Call) -> Answer {
    match call.operation {
        "plugin_list" => {
            check_plugin_filters(&call.query.filters()?)?;
            json(&[(); 0])
        }
        "plugin_inspect" | "plugin_delete" | "plugin_enable" | "plugin_disable" | "plugin_push"
        | "plugin_set" => Err(Error::new(
            ErrorKind::NotFound,
            format!("plugin {:?} not found", call.name),
        )),
        _ => Err(not_there(&call)),
    }
}
