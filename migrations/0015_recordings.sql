-- Recordings of notes. Their ids are drawn from here and never reused, across all notes.
create sequence recording_id;
