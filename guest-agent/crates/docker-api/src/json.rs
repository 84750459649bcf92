//! Reading JSON the way Docker's server does: `null` is the same as absent.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a message, taking every `null` member of an object as absent.
///
/// # Errors
/// When the bytes are not JSON or do not fit `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    drop_nulls(&mut value);
    serde_json::from_value(value)
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
    use crate::ContainerCreateRequest;

    #[test]
    fn null_reads_as_absent_at_every_depth() {
        let text = br#"{"Image":"a","Env":null,"HostConfig":{"Binds":null,"NetworkMode":null},"NetworkingConfig":{"EndpointsConfig":{"n":{"Aliases":null,"GwPriority":null}}}}"#;
        let request: ContainerCreateRequest = super::from_slice(text).expect("valid");
        assert_eq!(request.config.image, "a");
        assert_eq!(request.host_config.network_mode, "");
    }
}
