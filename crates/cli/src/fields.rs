//! `--field-selector`: objects by their fields, which for every kind are its name and its namespace.

use crate::failure::Failure;
use crate::kinds::Kind;
use crate::print::table::Object;

/// What the fields of an object have to be, all of them.
#[derive(Debug, Default)]
pub(crate) struct FieldSelector(Vec<Term>);

#[derive(Debug)]
struct Term {
    field: Field,
    /// Whether the field has this value, or has not.
    equal: bool,
    value: String,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Name,
    Namespace,
}

impl FieldSelector {
    /// Reads `metadata.name=app,metadata.namespace!=test`. `labels` is the label selector beside it.
    ///
    /// # Errors
    /// [`Failure::Server`], in the words of an API server, for another form or another field.
    pub(crate) fn parse(text: Option<&str>, kind: Kind, labels: &str) -> Result<Self, Failure> {
        let text = text.unwrap_or_default();
        let refused = |why: String| {
            let resource = kind.plural_words().to_lowercase();
            Failure::server(
                "BadRequest",
                &format!(
                    "Unable to find \"image.openshift.io/v1, Resource={resource}\" that match label selector \"{labels}\", field selector \"{text}\": {why}"
                ),
            )
        };
        let term = |term: &str| {
            let split = |sign| term.split_once(sign);
            let unequal = split("!=").map(|(field, value)| (field, false, value));
            let equal = || split("==").or_else(|| split("=")).map(|(field, value)| (field, true, value));
            let (field, equal, value) = unequal
                .or_else(equal)
                .ok_or_else(|| refused(format!("invalid selector: '{text}'; can't understand '{term}'")))?;
            let field = match field {
                "metadata.name" => Field::Name,
                "metadata.namespace" => Field::Namespace,
                _ => {
                    return Err(refused(format!(
                        "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )));
                }
            };
            Ok(Term { field, equal, value: value.to_owned() })
        };
        text.split(',').filter(|text| !text.is_empty()).map(term).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an object is meant.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|term| {
            let value = match term.field {
                Field::Name => object.name(),
                Field::Namespace => object.namespace().to_owned(),
            };
            (value == term.value) == term.equal
        })
    }
}

#[cfg(test)]
mod tests {
    use tagtrail_api::v1::ImageStream;

    use super::*;

    #[test]
    fn objects_are_found_by_name_and_namespace() {
        let stream = ImageStream { namespace: "test".into(), name: "app".into(), ..ImageStream::default() };
        let object = Object::Stream(stream);
        let check = |text: &str, matches: bool| {
            let selector = FieldSelector::parse(Some(text), Kind::Stream, "").expect(text);
            assert_eq!(selector.matches(&object), matches, "{text}");
        };
        check("", true);
        check("metadata.name=app", true);
        check("metadata.name==app", true);
        check("metadata.name=web", false);
        check("metadata.name!=app", false);
        check("metadata.name!=web", true);
        check("metadata.namespace=test", true);
        check("metadata.name=app,metadata.namespace=other", false);
        check("metadata.name=app,metadata.namespace!=other,", true);
    }

    #[test]
    fn other_fields_are_refused() {
        let check = |text: &str, why: &str| {
            let refused = FieldSelector::parse(Some(text), Kind::Stream, "a=b").expect_err(text);
            let words = "Error from server (BadRequest): Unable to find \"image.openshift.io/v1, Resource=imagestreams\" that match label selector \"a=b\", field selector";
            assert_eq!(refused.text(), format!("{words} \"{text}\": {why}\n"));
        };
        let known = "only \"metadata.name\", \"metadata.namespace\"";
        check("spec.x=1", &format!("\"spec.x\" is not a known field selector: {known}"));
        check("name=app", &format!("\"name\" is not a known field selector: {known}"));
        check("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'");
    }
}
