//! The model: tokens → a vector.

use crate::attention;
use crate::kernel::{self, Kernel};
use crate::linear::{BLOCK, Linear, Rows, STORED, unpack};
use crate::pass::{Norm, mean_direction};
use crate::weights::{INNER, LAYERS, OpenError, Weights};
use crate::{DIMENSIONS, LONGEST};

/// The weights, laid out for computing.
#[derive(Debug)]
pub struct Encoder {
    kernel: Kernel,
    /// A vector per token, still in blocks of 4 bits.
    words: Vec<u8>,
    /// A vector per position, to which that of the only type of text is added.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Query, key and value in one.
    attention_in: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    inner_in: Linear,
    inner_out: Linear,
    inner_norm: Norm,
}

/// What is written while a text is computed, kept from layer to layer.
#[derive(Default)]
struct Scratch {
    rounded: Rows,
    heads: Vec<f32>,
    attended: Vec<f32>,
    inner: Vec<f32>,
    change: Vec<f32>,
    attention: attention::Scratch,
}

impl Encoder {
    /// Reads the model from its file.
    pub fn read(file: &mut Weights) -> Result<Self, OpenError> {
        let words = file.blocks("emb.word", file.vocabulary() * DIMENSIONS)?;
        let mut positions = file.numbers("emb.pos", LONGEST * DIMENSIONS)?;
        let types = file.numbers("emb.type", 2 * DIMENSIONS)?;
        for position in positions.chunks_exact_mut(DIMENSIONS) {
            for (number, of_type) in position.iter_mut().zip(&types) {
                *number += of_type;
            }
        }
        let norm = read_norm(file, "emb.ln")?;
        let layers = (0..LAYERS).map(|at| Layer::read(file, at)).collect::<Result<_, _>>()?;
        Ok(Self { kernel: Kernel::detect(), words, positions, norm, layers })
    }

    /// The vector of a text: the mean of its tokens, scaled to length 1. There are 1 to [`LONGEST`] tokens.
    pub fn embed(&self, tokens: &[u32]) -> Vec<f32> {
        let mut rows = self.words(tokens);
        kernel::add_and_normalise(
            self.kernel,
            &mut rows,
            &self.positions[..tokens.len() * DIMENSIONS],
            &self.norm,
        );
        let mut scratch = Scratch::default();
        for layer in &self.layers {
            layer.apply(self.kernel, &mut rows, &mut scratch);
        }
        mean_direction(&rows, DIMENSIONS)
    }

    fn words(&self, tokens: &[u32]) -> Vec<f32> {
        let word = |token: &u32| {
            let bytes = DIMENSIONS / BLOCK * STORED;
            self.words[*token as usize * bytes..][..bytes].as_chunks::<STORED>().0
        };
        tokens.iter().flat_map(word).flat_map(unpack).collect()
    }
}

impl Layer {
    fn read(file: &mut Weights, at: usize) -> Result<Self, OpenError> {
        let name = |part: &str| format!("l{at}.{part}");
        Ok(Self {
            attention_in: read_linear(
                file,
                &[name("q"), name("k"), name("v")],
                DIMENSIONS,
                DIMENSIONS,
            )?,
            attention_out: read_linear(file, &[name("ao")], DIMENSIONS, DIMENSIONS)?,
            attention_norm: read_norm(file, &name("aln"))?,
            inner_in: read_linear(file, &[name("fi")], DIMENSIONS, INNER)?,
            inner_out: read_linear(file, &[name("fo")], INNER, DIMENSIONS)?,
            inner_norm: read_norm(file, &name("oln"))?,
        })
    }

    fn apply(&self, kernel: Kernel, rows: &mut [f32], scratch: &mut Scratch) {
        let Scratch { rounded, heads, attended, inner, change, attention } = scratch;
        rounded.round(kernel, rows, DIMENSIONS);
        self.attention_in.apply(kernel, rounded, heads);
        attended.resize(rows.len(), 0.0);
        attention::attend(kernel, heads, attention, attended);
        rounded.round(kernel, attended, DIMENSIONS);
        self.attention_out.apply(kernel, rounded, change);
        kernel::add_and_normalise(kernel, rows, change, &self.attention_norm);

        rounded.round(kernel, rows, DIMENSIONS);
        self.inner_in.apply(kernel, rounded, inner);
        kernel::gelu(kernel, inner);
        rounded.round(kernel, inner, INNER);
        self.inner_out.apply(kernel, rounded, change);
        kernel::add_and_normalise(kernel, rows, change, &self.inner_norm);
    }
}

/// Several maps of the same inputs are put one below the other.
fn read_linear(
    file: &mut Weights,
    names: &[String],
    inputs: usize,
    outputs: usize,
) -> Result<Linear, OpenError> {
    let (mut stored, mut bias) = (Vec::new(), Vec::new());
    for name in names {
        stored.extend(file.blocks(&format!("{name}.w"), inputs * outputs)?);
        bias.extend(file.numbers(&format!("{name}.b"), outputs)?);
    }
    Ok(Linear::new(&stored, bias, inputs))
}

fn read_norm(file: &mut Weights, name: &str) -> Result<Norm, OpenError> {
    Ok(Norm {
        scale: file.numbers(&format!("{name}.w"), DIMENSIONS)?,
        shift: file.numbers(&format!("{name}.b"), DIMENSIONS)?,
    })
}
