use std::fs;

use super::dequantize::Format;

use super::*;

/// A file with one F32 tensor and whatever metadata is given.
fn file(metadata: &[(&str, &[u8])], tensor: &[u8], data: usize) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(1u64.to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key.as_bytes());
        bytes.extend(*value);
    }
    bytes.extend(tensor);
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

fn tensor(dimensions: &[u64], format: u32, offset: u64) -> Vec<u8> {
    let mut bytes = 1u64.to_le_bytes().to_vec();
    bytes.push(b'w');
    bytes.extend((dimensions.len() as u32).to_le_bytes());
    dimensions.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    bytes.extend(format.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

fn open(bytes: &[u8]) -> Result<Gguf> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    fs::write(&path, bytes).unwrap();
    Gguf::open(&path)
}

#[test]
fn a_small_file_is_read() {
    let text = [&8u32.to_le_bytes()[..], &5u64.to_le_bytes(), b"llama"].concat();
    let gguf = open(&file(&[("general.architecture", &text)], &tensor(&[2, 3], 0, 0), 24)).unwrap();
    assert_eq!(gguf.text("general.architecture"), Some("llama"));
    assert_eq!(gguf.tensors["w"].shape, [3, 2]);
    assert_eq!(read(&gguf, &gguf.tensors["w"]).unwrap(), [0.0; 6]);
}

#[derive(serde::Deserialize)]
struct Blocks {
    id: u32,
    name: String,
    bytes: String,
    values: Vec<f32>,
}

/// Random blocks of every type with the values that gguf-py gives them; `tests/reference/gguf_quants.py` made them.
#[test]
fn blocks_of_every_type_have_the_values_of_the_reference() {
    let cases: Vec<Blocks> = serde_json::from_str(include_str!("../../tests/fixtures/gguf_blocks.json")).unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let bytes: Vec<u8> = (0..case.bytes.len()).step_by(2).map(|at| u8::from_str_radix(&case.bytes[at..at + 2], 16).unwrap()).collect();
        let mut values = Vec::new();
        Format::from_id(case.id).unwrap().decode(&bytes, &mut values);
        assert_eq!(values.len(), case.values.len(), "{}", case.name);
        for (found, expected) in values.iter().zip(&case.values) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{}: {found} for {expected}", case.name);
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    let values: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
    for (format, apart) in [(Format::F32, 0.0), (Format::F16, 1e-3), (Format::Bf16, 1e-2), (Format::Q8_0, 1e-2)] {
        let bytes = format.encode(&values).unwrap();
        assert_eq!(bytes.len(), values.len() / format.block() * format.block_bytes());
        let mut back = Vec::new();
        format.decode(&bytes, &mut back);
        assert!(values.iter().zip(&back).all(|(a, b)| (a - b).abs() <= apart), "{format:?}");
    }
    assert_eq!(Format::Q4K.encode(&values), None);
}

/// Tiny models of every family, written as GGUF and read again: tensors, configuration, tokenizer and template stay.
#[test]
fn every_family_survives_being_written() {
    let tokenizer = Tokenizer::train(["a few words"; 3].iter(), &crate::TokenizerSpec { vocab_size: 270, ..Default::default() }).unwrap();
    let template = crate::ChatTemplate::chatml().unwrap();
    let dir = tempfile::tempdir().unwrap();
    // The pattern of Gemma's layers has no key in GGUF; the reader takes the published one, which a tiny model has not.
    for (_, model_type) in MODEL_TYPES.iter().filter(|(gguf, _)| *gguf != "gemma3") {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(model_type);
        let config = ModelConfig { vocab_size: 270, ..crate::hf::load_config(&folder).unwrap() };
        let model = CausalLm::init(&config, 3, &Device::flex()).unwrap();
        let path = dir.path().join(format!("{model_type}.gguf"));
        save(&path, &model, &tokenizer, Some(&template), "tiny", GgufFormat::F32).unwrap();
        let back = load(&path, &Device::flex()).unwrap();
        assert_eq!(back.template.unwrap().source(), template.source());
        assert_eq!(back.tokenizer.encode("a few 123 words<|im_end|>").unwrap(), tokenizer.encode("a few 123 words<|im_end|>").unwrap());
        let tensors = |model: &CausalLm| {
            let mut all = Vec::new();
            crate::weights::export(model, &mut |name, _, values| {
                all.push((name.to_owned(), values()?));
                Ok(())
            })
            .unwrap();
            all
        };
        assert_eq!(tensors(&back.model), tensors(&model), "{model_type}");
        assert_eq!(back.model.config().rope, config.rope, "{model_type}");
        assert_eq!(back.model.config().tie_word_embeddings, config.tie_word_embeddings);
    }
}

#[test]
fn headers_that_lie_are_refused() {
    let list = |count: u64| [&9u32.to_le_bytes()[..], &4u32.to_le_bytes(), &count.to_le_bytes()].concat();
    let nested = [&9u32.to_le_bytes()[..], &9u32.to_le_bytes(), &1u64.to_le_bytes(), &[0; 16]].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (file(&[], &tensor(&[2, 3], 0, 0), 20), "claims 24 bytes"),
        (file(&[], &tensor(&[2, 3], 0, u64::MAX), 24), "beyond the file's"),
        (file(&[], &tensor(&[1 << 40, 1 << 40], 0, 0), 24), "overflow"),
        (file(&[], &tensor(&[1 << 62], 0, 0), 24), "too large"),
        (file(&[], &tensor(&[33], 2, 0), 64), "blocks of 32"),
        (file(&[], &tensor(&[2], 99, 0), 64), "unknown type 99"),
        (file(&[], &tensor(&[1; 5], 0, 0), 64), "5 dimensions"),
        (file(&[("a", &list(u64::MAX))], &tensor(&[2], 0, 0), 64), "elements"),
        (file(&[("a", &list(1 << 23))], &tensor(&[2], 0, 0), 64), "elements"),
        (file(&[("a", &nested)], &tensor(&[2], 0, 0), 64), "unknown type 9"),
        (b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(), "tensors"),
        (b"GGUF\x09\0\0\0".to_vec(), "version 9"),
        (b"\x80\x02}q\0X".to_vec(), "not `GGUF`"),
        (Vec::new(), "ends within the header"),
    ];
    for (bytes, expected) in cases {
        let error = open(&bytes).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, not {expected}");
    }
    let good = file(&[("a", &list(0))], &tensor(&[2, 3], 0, 0), 24);
    for length in 0..good.len() {
        assert!(open(&good[..length]).is_err(), "cut at {length}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_headers_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), position in 8usize..80, byte: u8) {
        let _ = open(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
        let mut good = file(&[], &tensor(&[2, 3], 0, 0), 24);
        let at = position % good.len();
        good[at] = byte;
        let _ = open(&good);
    }
}
