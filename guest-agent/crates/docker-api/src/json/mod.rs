//! Reading JSON the way Docker's server does: `null` is the same as absent, and names come in any case.

mod keys;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a message, taking every `null` member of an object as absent, and names of fields in any case. Not through a flattened field.
///
/// # Errors
/// When the bytes are not JSON or do not fit `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    from_value(serde_json::from_slice(bytes)?)
}

/// The same for one that is a value already.
pub(crate) fn from_value<T: DeserializeOwned>(mut value: Value) -> Result<T, serde_json::Error> {
    drop_nulls(&mut value);
    T::deserialize(keys::AnyCase(value))
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::{ContainerCreateRequest, exec::ExecConfig};

    #[test]
    fn names_come_in_any_case_and_keys_of_maps_stay() {
        let text = br#"{"cmd":["a"],"detachKeys":"ctrl-p","TTY":true}"#;
        let exec: ExecConfig = super::from_slice(text).expect("valid");
        assert!(exec.tty && exec.detach_keys == "ctrl-p");
        let text = br#"{"image":"a","LABELS":{"Image":"1","image":"2"},"hostconfig":{"restartpolicy":{"name":"always"}}}"#;
        let request: ContainerCreateRequest = super::from_slice(text).expect("valid");
        assert_eq!(request.config.as_ref().expect("said").image, "a");
        assert_eq!(
            request.config.expect("said").labels.expect("labels").len(),
            2
        );
        assert_eq!(request.host_config.restart_policy.name, "always");
    }

    #[test]
    fn null_reads_as_absent_at_every_depth() {
        let text = br#"{"Image":"a","Env":null,"HostConfig":{"Binds":null,"NetworkMode":null},"NetworkingConfig":{"EndpointsConfig":{"n":{"Aliases":null,"GwPriority":null}}}}"#;
        let request: ContainerCreateRequest = super::from_slice(text).expect("valid");
        assert_eq!(request.config.as_ref().expect("said").image, "a");
        assert_eq!(request.host_config.network_mode, "");
    }
}
