//! Takes out of vectors which language their texts are written in.
//!
//! A multilingual model puts texts that mean the same close together, but those of one language closer still: among notes in
//! both, a Spanish question finds ten Spanish notes about something else before the English one that answers. What the
//! languages differ by is nearly the same for all texts, so it is measured once on sentences that say the same in both, and
//! taken from each vector. `make eval` has what that is worth (docs/search.md).

use super::Language;

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

/// What a model adds to vectors of English and, the other way, to those of Spanish. Questions and passages, which a model
/// embeds in different ways, have one each.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageShift(Vec<f32>);

impl LanguageShift {
    /// Half of what the means of these vectors differ by: those of the sentences in English and in Spanish.
    pub fn between(english: &[Vec<f32>], spanish: &[Vec<f32>]) -> Self {
        let (english, spanish) = (mean(english), mean(spanish));
        Self(english.iter().zip(spanish).map(|(one, other)| (one - other) / 2.0).collect())
    }

    /// Takes the language out and brings the vector back to length 1. What is in neither language stays as it is: it lies
    /// between them.
    pub fn remove(&self, vector: &mut [f32], language: Option<Language>) {
        let sign = match language {
            Some(Language::English) => 1.0,
            Some(Language::Spanish) => -1.0,
            None => return,
        };
        vector.iter_mut().zip(&self.0).for_each(|(number, shift)| *number -= sign * shift);
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|number| *number /= length);
        }
    }
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
    use super::super::language::guess;
    use super::*;

    /// A model that knows two subjects, and has a third dimension for the language.
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
        let shift = LanguageShift::between(&english, &spanish);
        let mut question = vector([1.0, 0.2], -0.8);
        let mut answer = vector([1.0, 0.1], 0.8);
        let mut chance = vector([0.3, 1.0], -0.8);
        assert!(likeness(&question, &chance) > likeness(&question, &answer));
        shift.remove(&mut question, Some(Language::Spanish));
        shift.remove(&mut chance, Some(Language::Spanish));
        shift.remove(&mut answer, Some(Language::English));
        assert!(likeness(&question, &answer) > 0.95);
        assert!(likeness(&question, &answer) > likeness(&question, &chance));
        assert!((likeness(&answer, &answer) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_in_neither_language_stays() {
        let shift = LanguageShift::between(&[vector([1.0, 0.0], 0.5)], &[vector([1.0, 0.0], -0.5)]);
        let mut name = vector([0.4, 0.6], 0.0);
        let before = name.clone();
        shift.remove(&mut name, None);
        assert_eq!(name, before);
    }

    #[test]
    fn the_sentences_are_in_the_languages_they_stand_for() {
        let in_their_language = SENTENCES.iter().filter(|(english, spanish)| {
            guess(english) != Some(Language::Spanish) && guess(spanish) != Some(Language::English)
        });
        assert_eq!(in_their_language.count(), SENTENCES.len());
    }
}
