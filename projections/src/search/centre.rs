//! Takes out of vectors what all texts of a language have in common.
//!
//! A multilingual model puts texts that mean the same close together, but those of one language closer still: among notes in
//! both, a Spanish question finds ten Spanish notes about something else before the English one that answers. And all its vectors
//! point much the same way, so that a few texts that say a little of everything are near to whatever is asked. Both are nearly the same
//! for all texts, so they are measured once on everyday sentences, and most of them is taken from each vector. `make eval` has what that is
//! worth (docs/search.md).

use super::encoder::normalise;

/// Everyday sentences in English and in Spanish. They have nothing to do with what is searched: what they mean cancels out, and
/// only the language remains.
pub const SENTENCES: [(&str, &str); 24] = [
    (
        "The train leaves at seven and arrives before noon.",
        "El tren sale a las siete y llega antes del mediodía.",
    ),
    (
        "She bought bread, milk and a newspaper on the way home.",
        "Compró pan, leche y un periódico de camino a casa.",
    ),
    (
        "The river is low because it has not rained since spring.",
        "El río está bajo porque no ha llovido desde la primavera.",
    ),
    (
        "Our neighbours are repairing the roof of the old church.",
        "Nuestros vecinos están reparando el tejado de la iglesia vieja.",
    ),
    (
        "The report describes how the number of visitors changed over the year.",
        "El informe describe cómo cambió el número de visitantes durante el año.",
    ),
    (
        "He would like to know whether the shop is open on Sundays.",
        "Le gustaría saber si la tienda abre los domingos.",
    ),
    (
        "The doctor said that the patient should rest for two weeks.",
        "El médico dijo que el paciente debía descansar dos semanas.",
    ),
    (
        "Children learn languages more quickly than adults.",
        "Los niños aprenden idiomas más deprisa que los adultos.",
    ),
    (
        "The new bridge connects both parts of the city.",
        "El puente nuevo une las dos partes de la ciudad.",
    ),
    (
        "We agreed to meet again next month to discuss the details.",
        "Quedamos en vernos otra vez el mes que viene para hablar de los detalles.",
    ),
    (
        "The company sells furniture in eleven countries.",
        "La empresa vende muebles en once países.",
    ),
    ("I do not remember where I left the keys.", "No recuerdo dónde dejé las llaves."),
    (
        "The museum shows paintings of the nineteenth century.",
        "El museo expone pinturas del siglo diecinueve.",
    ),
    (
        "Prices rose faster than wages last year.",
        "Los precios subieron más que los salarios el año pasado.",
    ),
    (
        "The teacher explained the exercise again because nobody had understood it.",
        "La maestra explicó de nuevo el ejercicio porque nadie lo había entendido.",
    ),
    (
        "The contract ends in December unless both sides extend it.",
        "El contrato termina en diciembre salvo que ambas partes lo prorroguen.",
    ),
    (
        "They planted trees along the road to give shade.",
        "Plantaron árboles a lo largo del camino para dar sombra.",
    ),
    (
        "The results of the election will be published tomorrow.",
        "Los resultados de las elecciones se publicarán mañana.",
    ),
    ("A dog was barking in the courtyard all night.", "Un perro ladró toda la noche en el patio."),
    (
        "The engineer checked the machine and found no defect.",
        "El ingeniero revisó la máquina y no encontró ningún defecto.",
    ),
    (
        "The kitchen smells of coffee and fresh oranges.",
        "La cocina huele a café y a naranjas frescas.",
    ),
    (
        "Most of the employees work from home on Fridays.",
        "La mayoría de los empleados trabaja desde casa los viernes.",
    ),
    (
        "The book tells the story of a family that emigrated.",
        "El libro cuenta la historia de una familia que emigró.",
    ),
    (
        "The winter was longer and colder than usual.",
        "El invierno fue más largo y más frío que de costumbre.",
    ),
];

/// How many sentences make a passage, and how far apart these begin.
const LENGTH: usize = 6;
const APART: usize = 3;

/// Which share of what texts have in common is taken out. Whether they are about anything at all is a part of it, so that with all of it
/// gone texts that say little are near by chance.
const SHARE: f32 = 0.7;

/// The middle of a model's vectors in each language. Questions and passages, which a model embeds in different ways, have one each.
#[derive(Clone, Debug, PartialEq)]
pub struct Centre {
    english: Vec<f32>,
    spanish: Vec<f32>,
}

impl Centre {
    /// That of these vectors of texts that say the same in both languages.
    pub fn of(english: &[Vec<f32>], spanish: &[Vec<f32>]) -> Self {
        Self { english: mean(english), spanish: mean(spanish) }
    }

    /// Takes that of the nearer language out and brings the vector back to length 1. Vectors of passages tell their language more surely
    /// than words do: none of some 360 notes in two sets was taken for one in the other language.
    pub fn remove(&self, vector: &mut [f32]) {
        let Self { english, spanish } = self;
        let along = |vector: &[f32]| -> f32 {
            let numbers = vector.iter().zip(english.iter().zip(spanish));
            numbers.map(|(number, (one, other))| number * (one - other)).sum()
        };
        let is_english = 2.0 * along(vector) > along(english) + along(spanish);
        let centre = if is_english { english } else { spanish };
        vector.iter_mut().zip(centre).for_each(|(number, middle)| *number -= SHARE * middle);
        normalise(vector);
    }
}

/// Texts as long as passages, made of the sentences of a language.
pub fn passages(sentences: &[&str]) -> Vec<String> {
    sentences.windows(LENGTH).step_by(APART).map(|window| window.join(" ")).collect()
}

fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let mut mean = vec![0.0; vectors.first().map_or(0, Vec::len)];
    let share = 1.0 / vectors.len() as f32;
    for vector in vectors {
        mean.iter_mut().zip(vector).for_each(|(sum, number)| *sum += number * share);
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::super::Language;
    use super::super::language::guess;
    use super::*;

    /// A model that knows two subjects, and has a third dimension for the language or for what all texts have.
    fn vector(subject: [f32; 2], language: f32) -> Vec<f32> {
        let mut vector = vec![subject[0], subject[1], language];
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|number| *number /= length);
        vector
    }

    fn likeness(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(one, other)| one * other).sum()
    }

    #[test]
    fn the_answer_in_the_other_language_goes_before_chance_in_the_same() {
        let [english, spanish] = [0.8, -0.8]
            .map(|language| [vector([1.0, 0.0], language), vector([0.0, 1.0], language)]);
        let centre = Centre::of(&english, &spanish);
        let mut question = vector([1.0, 0.2], -0.8);
        let mut answer = vector([1.0, 0.1], 0.8);
        let mut chance = vector([0.3, 1.0], -0.8);
        assert!(likeness(&question, &chance) > likeness(&question, &answer));
        centre.remove(&mut question);
        centre.remove(&mut chance);
        centre.remove(&mut answer);
        assert!(likeness(&question, &answer) > likeness(&question, &chance));
        assert!((likeness(&answer, &answer) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_says_a_little_of_everything_is_not_near_to_whatever_is_asked() {
        // The third dimension is what they have in common.
        let all = [vector([1.0, 0.0], 1.5), vector([0.0, 1.0], 1.5)];
        let centre = Centre::of(&all, &all);
        let mut question = vector([0.2, 1.0], 1.5);
        let mut answer = vector([0.6, 1.0], 0.8);
        let mut hub = vector([0.3, 0.3], 1.5);
        assert!(likeness(&question, &hub) > likeness(&question, &answer));
        for vector in [&mut question, &mut answer, &mut hub] {
            centre.remove(vector);
        }
        assert!(likeness(&question, &answer) > likeness(&question, &hub));
    }

    #[test]
    fn passages_are_made_of_several_sentences() {
        let sentences: Vec<String> = (0..24).map(|at| at.to_string()).collect();
        let passages = passages(&sentences.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(passages.len(), 7);
        assert_eq!((&*passages[0], &*passages[6]), ("0 1 2 3 4 5", "18 19 20 21 22 23"));
    }

    #[test]
    fn the_sentences_are_in_the_languages_they_stand_for() {
        let in_their_language = SENTENCES.iter().filter(|(english, spanish)| {
            guess(english) != Some(Language::Spanish) && guess(spanish) != Some(Language::English)
        });
        assert_eq!(in_their_language.count(), SENTENCES.len());
    }
}
