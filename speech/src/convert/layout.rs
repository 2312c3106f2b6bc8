//! Which tensors a ggml file has, in which order, and where CTranslate2 keeps each.

use super::ConvertError;
use super::ct2::{Numbers, Part, WHOLE, Weights};

/// All of Whisper's attention heads are this wide.
const HEAD: u32 = 64;

/// The sizes of a model.
pub(super) struct Shape {
    vocabulary: u32,
    audio_context: u32,
    width: u32,
    audio_layers: u32,
    text_context: u32,
    text_layers: u32,
    pub mels: u32,
}

/// At which precision a tensor is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Single,
    Half,
}

/// A tensor of the file to be written.
#[derive(Debug)]
pub(super) struct Tensor {
    pub name: String,
    pub source: String,
    pub part: Part,
    pub kind: Kind,
    /// A bias of a convolution is a column.
    column: bool,
}

impl Shape {
    /// Reads the sizes off the tensors.
    pub(super) fn of(weights: &Weights) -> Result<Self, ConvertError> {
        let size = |name: &str, at: usize| -> Result<u32, ConvertError> {
            let size = weights.dimensions(name)?.get(at);
            size.copied().ok_or_else(|| weights.problem(format!("{name} has too few dimensions")))
        };
        let layers = |side: &str| {
            let has =
                |layer: &u32| weights.has(&format!("{side}/layer_{layer}/ffn/linear_0/weight"));
            u32::try_from((0..).take_while(has).count()).expect("counted by a u32")
        };
        Ok(Self {
            vocabulary: size("decoder/embeddings/weight", 0)?,
            width: size("decoder/embeddings/weight", 1)?,
            audio_context: size("encoder/position_encodings/encodings", 0)?,
            audio_layers: layers("encoder"),
            text_context: size("decoder/position_encodings/encodings", 0)?,
            text_layers: layers("decoder"),
            mels: size("encoder/conv1/weight", 1)?,
        })
    }

    /// As they stand at the beginning of the file.
    pub(super) fn numbers(&self) -> [u32; 10] {
        let heads = self.width / HEAD;
        [
            self.vocabulary,
            self.audio_context,
            self.width,
            heads,
            self.audio_layers,
            self.text_context,
            self.width,
            heads,
            self.text_layers,
            self.mels,
        ]
    }
}

impl Tensor {
    /// The dimensions of its numbers, the slowest first.
    pub(super) fn dimensions(&self, numbers: &Numbers) -> Vec<u32> {
        let mut dimensions = numbers.dimensions.clone();
        if self.column {
            dimensions.push(1);
        }
        dimensions
    }
}

/// All tensors in the order of the file, and what is left out.
pub(super) fn tensors(shape: &Shape) -> List {
    let mut list = List::default();
    for conv in ["conv1", "conv2"] {
        list.add(format!("encoder.{conv}.weight"), format!("encoder/{conv}/weight"), Kind::Half);
        list.add(format!("encoder.{conv}.bias"), format!("encoder/{conv}/bias"), Kind::Single);
        list.column();
    }
    list.positions("encoder");
    list.norm("encoder.ln_post", "encoder/layer_norm");
    list.add("decoder.token_embedding.weight", "decoder/embeddings/weight", Kind::Half);
    list.positions("decoder");
    list.norm("decoder.ln", "decoder/layer_norm");
    for layer in 0..shape.audio_layers {
        list.layer("encoder", layer);
    }
    for layer in 0..shape.text_layers {
        list.layer("decoder", layer);
    }
    list
}

/// The tensors of a file.
#[derive(Default)]
pub(super) struct List {
    pub tensors: Vec<Tensor>,
    /// Parts of CTranslate2's tensors that Whisper does not have: they must be zero.
    pub left_out: Vec<(String, Part)>,
}

impl List {
    fn add(&mut self, name: impl Into<String>, source: impl Into<String>, kind: Kind) {
        let (name, source) = (name.into(), source.into());
        self.tensors.push(Tensor { name, source, part: WHOLE, kind, column: false });
    }

    /// The last one is a column.
    fn column(&mut self) {
        if let Some(last) = self.tensors.last_mut() {
            last.column = true;
        }
    }

    /// The last one is only this part of its source.
    fn part(&mut self, number: u32, of: u32) {
        if let Some(last) = self.tensors.last_mut() {
            last.part = Part { number, of };
        }
    }

    fn positions(&mut self, side: &str) {
        let (name, source) = (
            format!("{side}.positional_embedding"),
            format!("{side}/position_encodings/encodings"),
        );
        self.add(name, source, Kind::Single);
    }

    fn norm(&mut self, name: &str, source: &str) {
        self.add(format!("{name}.weight"), format!("{source}/gamma"), Kind::Single);
        self.add(format!("{name}.bias"), format!("{source}/beta"), Kind::Single);
    }

    fn linear(&mut self, name: &str, source: &str) {
        self.add(format!("{name}.weight"), format!("{source}/weight"), Kind::Half);
        self.add(format!("{name}.bias"), format!("{source}/bias"), Kind::Single);
    }

    /// Matrices that CTranslate2 has joined. Whisper's keys have no bias; there it stands as zeros, and is left out.
    fn joined(&mut self, attention: &str, source: &str, names: &[&str]) {
        let of = u32::try_from(names.len()).expect("two or three");
        for (number, name) in (0..).zip(names) {
            let weight = format!("{attention}.{name}.weight");
            self.add(weight, format!("{source}/weight"), Kind::Half);
            self.part(number, of);
        }
        for (number, name) in (0..).zip(names) {
            let bias = format!("{source}/bias");
            if *name == "key" {
                self.left_out.push((bias, Part { number, of }));
                continue;
            }
            self.add(format!("{attention}.{name}.bias"), bias, Kind::Single);
            self.part(number, of);
        }
    }

    fn layer(&mut self, side: &str, layer: u32) {
        let (name, source) = (format!("{side}.blocks.{layer}"), format!("{side}/layer_{layer}"));
        self.norm(&format!("{name}.attn_ln"), &format!("{source}/self_attention/layer_norm"));
        let attention = format!("{source}/self_attention");
        let joined = ["query", "key", "value"];
        self.joined(&format!("{name}.attn"), &format!("{attention}/linear_0"), &joined);
        self.linear(&format!("{name}.attn.out"), &format!("{attention}/linear_1"));
        if side == "decoder" {
            let (cross, attention) = (format!("{name}.cross_attn"), format!("{source}/attention"));
            self.norm(&format!("{cross}_ln"), &format!("{attention}/layer_norm"));
            self.linear(&format!("{cross}.query"), &format!("{attention}/linear_0"));
            self.joined(&cross, &format!("{attention}/linear_1"), &["key", "value"]);
            self.linear(&format!("{cross}.out"), &format!("{attention}/linear_2"));
        }
        self.norm(&format!("{name}.mlp_ln"), &format!("{source}/ffn/layer_norm"));
        self.linear(&format!("{name}.mlp.0"), &format!("{source}/ffn/linear_0"));
        self.linear(&format!("{name}.mlp.2"), &format!("{source}/ffn/linear_1"));
    }
}
