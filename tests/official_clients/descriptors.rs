//! Our `apache.rocketmq.v2` files against those inside the official Python client's package: every service, method,
//! message, field and enum value that it has must be ours too, with the same numbers, types and shapes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

use crate::root;
use rq_tests::language::Language;

const PACKAGE: &str = "apache.rocketmq.v2";

/// What we have and the package, which is older, does not.
const NEWER_THAN_THE_PACKAGE: [&str; 5] = [
    "apache.rocketmq.v2.Code.INVALID_CLIENT_PROPERTIES",
    "apache.rocketmq.v2.Settings.ClientPropertiesEntry",
    "apache.rocketmq.v2.Settings.ClientPropertiesEntry.key",
    "apache.rocketmq.v2.Settings.ClientPropertiesEntry.value",
    "apache.rocketmq.v2.Settings.client_properties",
];

/// Facts of the wire: the full name of a thing and its number, type and shape.
type Facts = BTreeMap<String, String>;

#[test]
fn our_proto_files_say_what_the_official_python_client_says() -> Result<()> {
    let Some(build) = Language::of("python")?.build()? else { return Ok(()) };
    let interpreter = build.command.first().context("no interpreter")?;
    let script = root().join("tests/clients/python/descriptors.py");
    let output = Command::new(interpreter).arg("-B").arg(script).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut theirs = Facts::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(line)?;
        theirs.append(&mut facts(&FileDescriptorProto::decode(bytes.as_slice())?));
    }
    let mut ours = Facts::new();
    for file in FileDescriptorSet::decode(rq_proto::DESCRIPTORS)?.file {
        if file.package() == PACKAGE {
            ours.append(&mut facts(&file));
        }
    }
    ensure!(theirs.len() > 400, "the package has only {} facts: was it read at all?", theirs.len());
    let wrong: Vec<String> = theirs
        .iter()
        .filter(|(name, fact)| ours.get(*name) != Some(*fact))
        .map(|(name, fact)| format!("{name}: theirs {fact}, ours {:?}", ours.get(name)))
        .collect();
    ensure!(wrong.is_empty(), "our proto files differ:\n{}", wrong.join("\n"));
    let more: BTreeSet<&str> =
        ours.keys().filter(|name| !theirs.contains_key(*name)).map(String::as_str).collect();
    ensure!(
        more == BTreeSet::from(NEWER_THAN_THE_PACKAGE),
        "what only our proto files have is not the list of what is newer than the package: {more:#?}"
    );
    Ok(())
}

/// Everything that a file says about the wire.
fn facts(file: &FileDescriptorProto) -> Facts {
    let mut facts = Facts::new();
    for message in &file.message_type {
        message_facts(PACKAGE, message, &mut facts);
    }
    for enumeration in &file.enum_type {
        enum_facts(PACKAGE, enumeration, &mut facts);
    }
    for service in &file.service {
        for method in &service.method {
            let fact = format!(
                "{}{} -> {}{}",
                if method.client_streaming() { "stream " } else { "" },
                method.input_type(),
                if method.server_streaming() { "stream " } else { "" },
                method.output_type()
            );
            facts.insert(format!("{PACKAGE}.{}.{}", service.name(), method.name()), fact);
        }
    }
    facts
}

fn message_facts(scope: &str, message: &DescriptorProto, facts: &mut Facts) {
    let name = format!("{scope}.{}", message.name());
    facts.insert(name.clone(), "message".to_string());
    for field in &message.field {
        // A field with presence sits in a oneof of its own that is not on the wire.
        let oneof = match field.oneof_index {
            Some(index) if !field.proto3_optional() => usize::try_from(index)
                .ok()
                .and_then(|index| message.oneof_decl.get(index))
                .map_or("", |oneof| oneof.name()),
            _ => "",
        };
        let fact = format!(
            "number {} {:?} {:?} {} oneof {oneof:?} presence {}",
            field.number(),
            field.label(),
            field.r#type(),
            field.type_name(),
            field.proto3_optional()
        );
        facts.insert(format!("{name}.{}", field.name()), fact);
    }
    for nested in &message.nested_type {
        message_facts(&name, nested, facts);
    }
    for enumeration in &message.enum_type {
        enum_facts(&name, enumeration, facts);
    }
}

fn enum_facts(scope: &str, enumeration: &EnumDescriptorProto, facts: &mut Facts) {
    let name = format!("{scope}.{}", enumeration.name());
    facts.insert(name.clone(), "enum".to_string());
    for value in &enumeration.value {
        facts.insert(format!("{name}.{}", value.name()), format!("value {}", value.number()));
    }
}
