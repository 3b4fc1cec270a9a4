//! Pull secrets, as far as anybody sees them: `get secrets`, `describe secret`. The value is not among it.

use serde_json::{Value, json};
use tagtrail_api::v1::Secret;

use crate::print::age::{Now, rfc3339};

/// The one type of secret there is, in Kubernetes' words.
pub(crate) const TYPE: &str = "kubernetes.io/dockerconfigjson";
/// Under which key its value stands there.
pub(crate) const KEY: &str = ".dockerconfigjson";

/// The columns after the name.
pub(crate) const HEADERS: &[&str] = &["TYPE", "DATA", "AGE"];

/// The cells under [`HEADERS`].
pub(crate) fn cells(secret: &Secret, now: Now) -> Vec<String> {
    vec![TYPE.into(), "1".into(), now.age(secret.created_at.as_ref())]
}

/// What `describe` says, laid out as kubectl does.
pub(crate) fn in_words(secret: &Secret) -> String {
    let Secret { name, namespace, .. } = secret;
    format!(
        "Name:         {name}\nNamespace:    {namespace}\nLabels:       <none>\nAnnotations:  <none>\n\nType:  {TYPE}\n\n\
         Data\n====\n{KEY}:  (never shown)\n"
    )
}

/// The secret as an object of the API, without `data`.
pub(crate) fn in_json(secret: &Secret) -> Value {
    let created = secret.created_at.as_ref().map(rfc3339);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "creationTimestamp": created, "name": secret.name, "namespace": secret.namespace },
        "type": TYPE,
    })
}
