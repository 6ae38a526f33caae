SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.task_events (
    id bigint NOT NULL,
    task_id character varying(36) NOT NULL,
    at timestamp with time zone NOT NULL,
    type character varying(32) NOT NULL,
    attempt integer NOT NULL,
    data json
);
CREATE SEQUENCE public.task_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.task_events_id_seq OWNED BY public.task_events.id;
CREATE TABLE public.task_files (
    id character varying(36) NOT NULL,
    task_id character varying(36) NOT NULL,
    upload_id character varying(36) NOT NULL,
    "position" integer NOT NULL,
    name text NOT NULL,
    safe_name text NOT NULL,
    size bigint NOT NULL,
    media_type character varying(16),
    status character varying(16) NOT NULL,
    progress integer NOT NULL,
    duration double precision,
    width integer,
    height integer,
    frame_rate double precision,
    container character varying(16),
    video_codec character varying(32),
    audio_codec character varying(32),
    has_poster boolean NOT NULL,
    error_code character varying(64),
    error_params json,
    has_mp4 boolean DEFAULT false NOT NULL,
    has_hls boolean DEFAULT false NOT NULL,
    has_storyboard boolean DEFAULT false NOT NULL,
    playable boolean DEFAULT false NOT NULL,
    scan character varying(16),
    audio_tracks integer,
    hdr boolean,
    variable_frame_rate boolean
);
CREATE TABLE public.task_steps (
    file_id character varying(36) NOT NULL,
    name character varying(16) NOT NULL,
    "position" integer NOT NULL,
    status character varying(16) NOT NULL,
    progress integer NOT NULL,
    failures integer NOT NULL,
    error_code character varying(64),
    error_params json,
    started_at timestamp with time zone,
    finished_at timestamp with time zone
);
CREATE TABLE public.tasks (
    id character varying(36) NOT NULL,
    owner text NOT NULL,
    node character varying(36) NOT NULL,
    status character varying(16) NOT NULL,
    partial boolean NOT NULL,
    progress integer NOT NULL,
    current_file integer NOT NULL,
    file_count integer NOT NULL,
    attempt integer NOT NULL,
    failures integer NOT NULL,
    worker text,
    lease_expires_at timestamp with time zone,
    error_code character varying(64),
    error_params json,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    playable boolean DEFAULT false NOT NULL,
    step character varying(16),
    eta_seconds integer,
    waiting_code character varying(64),
    waiting_params json
);
CREATE VIEW public.tasks_by_status AS
 SELECT tasks.status,
    count(*) AS tasks,
    count(*) FILTER (WHERE tasks.partial) AS partly_failed,
    sum(tasks.file_count) AS files,
    (round(avg(EXTRACT(epoch FROM (tasks.started_at - tasks.created_at))), 3))::double precision AS waited_seconds,
    (round(avg(EXTRACT(epoch FROM (tasks.finished_at - tasks.created_at))), 3))::double precision AS processed_seconds,
    (round(max(EXTRACT(epoch FROM (tasks.finished_at - tasks.created_at))), 3))::double precision AS longest_seconds
   FROM public.tasks
  GROUP BY tasks.status;
CREATE TABLE public.upload_parts (
    final_id character varying(36) NOT NULL,
    "position" integer NOT NULL,
    part_id character varying(36) NOT NULL
);
CREATE TABLE public.uploads (
    id character varying(36) NOT NULL,
    owner text NOT NULL,
    status character varying(16) NOT NULL,
    protocol character varying(16) NOT NULL,
    length bigint,
    received bigint DEFAULT '0'::bigint NOT NULL,
    metadata_raw text,
    filename text,
    media_type character varying(16),
    has_bytes boolean NOT NULL,
    task_id character varying(36) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    completed_at timestamp with time zone,
    checked_from bigint,
    concat text,
    resumed boolean DEFAULT false NOT NULL
);
CREATE VIEW public.uploads_per_day AS
 SELECT one.day,
    count(*) AS uploads,
    (sum(one.received))::bigint AS bytes,
    count(*) FILTER (WHERE one.is_completed) AS completed,
    count(*) FILTER (WHERE ((one.status)::text = 'expired'::text)) AS expired,
    count(*) FILTER (WHERE (one.is_completed AND one.is_resumed)) AS resumed
   FROM ( SELECT to_char((u.created_at AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD'::text) AS day,
            u.status,
            u.received,
            (u.completed_at IS NOT NULL) AS is_completed,
            (u.resumed OR ((u.concat IS NOT NULL) AND (EXISTS ( SELECT 1
                   FROM (public.upload_parts p
                     JOIN public.uploads part ON (((part.id)::text = (p.part_id)::text)))
                  WHERE (((p.final_id)::text = (u.id)::text) AND part.resumed))))) AS is_resumed
           FROM public.uploads u
          WHERE ((u.concat IS NULL) OR (u.concat <> 'partial'::text))) one
  GROUP BY one.day;
ALTER TABLE ONLY public.task_events ALTER COLUMN id SET DEFAULT nextval('public.task_events_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0004');
INSERT INTO public.task_events VALUES (1, '9472bd82-194b-42b4-88ba-2eb9d9928aa3', '2026-11-22 21:09:46.92719+00', 'uploaded', 0, '{"files": 1}');
INSERT INTO public.task_events VALUES (2, '9472bd82-194b-42b4-88ba-2eb9d9928aa3', '2026-11-22 21:09:46.945021+00', 'processing', 1, '{"worker": "29e3bd2f-7f79-4cfe-8d95-fb167551c758/17869"}');
INSERT INTO public.task_events VALUES (3, '9472bd82-194b-42b4-88ba-2eb9d9928aa3', '2026-11-22 21:09:49.78974+00', 'file_completed', 1, '{"file": "0abd49b9-ccf8-4101-9675-c09d58e66406"}');
INSERT INTO public.task_events VALUES (4, '9472bd82-194b-42b4-88ba-2eb9d9928aa3', '2026-11-22 21:09:49.806215+00', 'completed', 1, '{"partial": false}');
INSERT INTO public.task_events VALUES (5, 'b9e9f624-1c6d-40e3-9e9f-f654081e997d', '2026-11-22 21:09:49.926866+00', 'uploaded', 0, '{"files": 1}');
INSERT INTO public.task_events VALUES (6, 'b9e9f624-1c6d-40e3-9e9f-f654081e997d', '2026-11-22 21:09:49.933578+00', 'processing', 1, '{"worker": "29e3bd2f-7f79-4cfe-8d95-fb167551c758/17869"}');
INSERT INTO public.task_events VALUES (7, 'b9e9f624-1c6d-40e3-9e9f-f654081e997d', '2026-11-22 21:09:50.14886+00', 'file_error', 1, '{"file": "0917710b-da59-4042-af87-3a3d2a13d17e", "code": "not_playable"}');
INSERT INTO public.task_events VALUES (8, 'b9e9f624-1c6d-40e3-9e9f-f654081e997d', '2026-11-22 21:09:50.152917+00', 'error', 1, '{"code": "not_playable"}');
INSERT INTO public.task_events VALUES (9, '9e8b4291-3686-430b-95fb-087d2946100d', '2026-11-22 21:09:50.32593+00', 'uploaded', 0, '{"files": 1}');
INSERT INTO public.task_events VALUES (10, '9e8b4291-3686-430b-95fb-087d2946100d', '2026-11-22 21:09:50.333714+00', 'processing', 1, '{"worker": "29e3bd2f-7f79-4cfe-8d95-fb167551c758/17869"}');
INSERT INTO public.task_events VALUES (11, '9e8b4291-3686-430b-95fb-087d2946100d', '2026-11-22 21:09:50.464873+00', 'file_error', 1, '{"file": "4beb933b-708e-4f02-ab85-f42dfd004802", "code": "not_playable"}');
INSERT INTO public.task_events VALUES (12, '9e8b4291-3686-430b-95fb-087d2946100d', '2026-11-22 21:09:50.476682+00', 'error', 1, '{"code": "not_playable"}');
INSERT INTO public.task_events VALUES (13, '281ebcba-1bcf-4c82-b827-ae137d0acccf', '2026-11-22 21:09:53.071686+00', 'uploaded', 0, '{"files": 1}');
INSERT INTO public.task_files VALUES ('0abd49b9-ccf8-4101-9675-c09d58e66406', '9472bd82-194b-42b4-88ba-2eb9d9928aa3', '20d486ce-556f-4e39-820f-e139f6eb5d38', 1, 'clip.mp4', 'clip.mp4', 4660, 'mp4', 'completed', 100, 0.4, 64, 64, 25, 'mp4', 'h264', NULL, true, NULL, NULL, true, true, true, true, 'skipped', 0, false, false);
INSERT INTO public.task_files VALUES ('0917710b-da59-4042-af87-3a3d2a13d17e', 'b9e9f624-1c6d-40e3-9e9f-f654081e997d', 'b9e9f624-1c6d-40e3-9e9f-f654081e997d', 1, 'clip.mp4', 'clip.mp4', 3000, 'mp4', 'error', 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, 'not_playable', '{}', false, false, false, false, 'skipped', NULL, NULL, NULL);
INSERT INTO public.task_files VALUES ('4beb933b-708e-4f02-ab85-f42dfd004802', '9e8b4291-3686-430b-95fb-087d2946100d', '9e8b4291-3686-430b-95fb-087d2946100d', 1, 'whole.mp4', 'whole.mp4', 5000, 'mp4', 'error', 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, 'not_playable', '{}', false, false, false, false, 'skipped', NULL, NULL, NULL);
INSERT INTO public.task_files VALUES ('f390b2da-2cac-4afc-9b2a-9c1532629ab4', '281ebcba-1bcf-4c82-b827-ae137d0acccf', '281ebcba-1bcf-4c82-b827-ae137d0acccf', 1, 'clip.mp4', 'clip.mp4', 4000, 'mp4', 'waiting', 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, NULL, false, false, false, false, NULL, NULL, NULL, NULL);
INSERT INTO public.task_steps VALUES ('0abd49b9-ccf8-4101-9675-c09d58e66406', 'scan', 1, 'skipped', 0, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.task_steps VALUES ('0abd49b9-ccf8-4101-9675-c09d58e66406', 'probe', 2, 'completed', 100, 0, NULL, 'null', '2026-11-22 21:09:47.023927+00', '2026-11-22 21:09:47.198594+00');
INSERT INTO public.task_steps VALUES ('0abd49b9-ccf8-4101-9675-c09d58e66406', 'poster', 3, 'completed', 100, 0, NULL, 'null', '2026-11-22 21:09:47.209116+00', '2026-11-22 21:09:48.338696+00');
INSERT INTO public.task_steps VALUES ('0abd49b9-ccf8-4101-9675-c09d58e66406', 'mp4', 4, 'completed', 100, 0, NULL, 'null', '2026-11-22 21:09:48.364025+00', '2026-11-22 21:09:48.768762+00');
INSERT INTO public.task_steps VALUES ('0abd49b9-ccf8-4101-9675-c09d58e66406', 'hls', 5, 'completed', 100, 0, NULL, 'null', '2026-11-22 21:09:48.795151+00', '2026-11-22 21:09:49.431856+00');
INSERT INTO public.task_steps VALUES ('0abd49b9-ccf8-4101-9675-c09d58e66406', 'storyboard', 6, 'completed', 100, 0, NULL, 'null', '2026-11-22 21:09:49.448235+00', '2026-11-22 21:09:49.77098+00');
INSERT INTO public.task_steps VALUES ('0917710b-da59-4042-af87-3a3d2a13d17e', 'scan', 1, 'skipped', 0, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.task_steps VALUES ('0917710b-da59-4042-af87-3a3d2a13d17e', 'probe', 2, 'error', 0, 0, 'not_playable', '{}', '2026-11-22 21:09:49.950918+00', '2026-11-22 21:09:50.141482+00');
INSERT INTO public.task_steps VALUES ('0917710b-da59-4042-af87-3a3d2a13d17e', 'hls', 5, 'skipped', 0, 0, NULL, NULL, NULL, '2026-11-22 21:09:50.14886+00');
INSERT INTO public.task_steps VALUES ('0917710b-da59-4042-af87-3a3d2a13d17e', 'mp4', 4, 'skipped', 0, 0, NULL, NULL, NULL, '2026-11-22 21:09:50.14886+00');
INSERT INTO public.task_steps VALUES ('0917710b-da59-4042-af87-3a3d2a13d17e', 'poster', 3, 'skipped', 0, 0, NULL, NULL, NULL, '2026-11-22 21:09:50.14886+00');
INSERT INTO public.task_steps VALUES ('0917710b-da59-4042-af87-3a3d2a13d17e', 'storyboard', 6, 'skipped', 0, 0, NULL, NULL, NULL, '2026-11-22 21:09:50.14886+00');
INSERT INTO public.task_steps VALUES ('4beb933b-708e-4f02-ab85-f42dfd004802', 'scan', 1, 'skipped', 0, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.task_steps VALUES ('4beb933b-708e-4f02-ab85-f42dfd004802', 'probe', 2, 'error', 0, 0, 'not_playable', '{}', '2026-11-22 21:09:50.355187+00', '2026-11-22 21:09:50.457895+00');
INSERT INTO public.task_steps VALUES ('4beb933b-708e-4f02-ab85-f42dfd004802', 'hls', 5, 'skipped', 0, 0, NULL, NULL, NULL, '2026-11-22 21:09:50.464873+00');
INSERT INTO public.task_steps VALUES ('4beb933b-708e-4f02-ab85-f42dfd004802', 'mp4', 4, 'skipped', 0, 0, NULL, NULL, NULL, '2026-11-22 21:09:50.464873+00');
INSERT INTO public.task_steps VALUES ('4beb933b-708e-4f02-ab85-f42dfd004802', 'poster', 3, 'skipped', 0, 0, NULL, NULL, NULL, '2026-11-22 21:09:50.464873+00');
INSERT INTO public.task_steps VALUES ('4beb933b-708e-4f02-ab85-f42dfd004802', 'storyboard', 6, 'skipped', 0, 0, NULL, NULL, NULL, '2026-11-22 21:09:50.464873+00');
INSERT INTO public.tasks VALUES ('9e8b4291-3686-430b-95fb-087d2946100d', 'default', '29e3bd2f-7f79-4cfe-8d95-fb167551c758', 'error', false, 0, 0, 1, 1, 0, NULL, NULL, 'not_playable', '{}', '2026-11-22 21:09:50.32593+00', '2026-11-22 21:09:50.476682+00', '2026-11-22 21:09:50.333714+00', '2026-11-22 21:09:50.476682+00', false, 'probe', NULL, NULL, 'null');
INSERT INTO public.tasks VALUES ('281ebcba-1bcf-4c82-b827-ae137d0acccf', 'default', '29e3bd2f-7f79-4cfe-8d95-fb167551c758', 'uploaded', false, 0, 0, 1, 0, 0, NULL, NULL, NULL, NULL, '2026-11-22 21:09:53.071686+00', '2026-11-22 21:09:53.071686+00', NULL, NULL, false, NULL, NULL, NULL, NULL);
INSERT INTO public.tasks VALUES ('9472bd82-194b-42b4-88ba-2eb9d9928aa3', 'default', '29e3bd2f-7f79-4cfe-8d95-fb167551c758', 'completed', false, 100, 1, 1, 1, 0, NULL, NULL, NULL, NULL, '2026-11-22 21:09:46.92719+00', '2026-11-22 21:09:49.806215+00', '2026-11-22 21:09:46.945021+00', '2026-11-22 21:09:49.806215+00', true, 'storyboard', NULL, NULL, 'null');
INSERT INTO public.tasks VALUES ('b9e9f624-1c6d-40e3-9e9f-f654081e997d', 'default', '29e3bd2f-7f79-4cfe-8d95-fb167551c758', 'error', false, 0, 0, 1, 1, 0, NULL, NULL, 'not_playable', '{}', '2026-11-22 21:09:49.926866+00', '2026-11-22 21:09:50.152917+00', '2026-11-22 21:09:49.933578+00', '2026-11-22 21:09:50.152917+00', false, 'probe', NULL, NULL, 'null');
INSERT INTO public.upload_parts VALUES ('3d48e846-8c86-4057-9b27-f6d6418d5a38', 1, 'a08d24ba-33cb-44ce-8ae1-64eee5b0c279');
INSERT INTO public.upload_parts VALUES ('3d48e846-8c86-4057-9b27-f6d6418d5a38', 2, '5d8a885c-4517-48db-a340-8e177f0d0c0a');
INSERT INTO public.upload_parts VALUES ('9e8b4291-3686-430b-95fb-087d2946100d', 1, '3b4d5049-c69c-4518-a159-8f2c2cc35ab4');
INSERT INTO public.upload_parts VALUES ('9e8b4291-3686-430b-95fb-087d2946100d', 2, 'f28009c0-1721-48d9-b062-3c6ec96468fd');
INSERT INTO public.uploads VALUES ('20d486ce-556f-4e39-820f-e139f6eb5d38', 'default', 'complete', 'multipart', 4660, 4660, NULL, 'clip.mp4', 'mp4', true, '9472bd82-194b-42b4-88ba-2eb9d9928aa3', '2026-11-22 21:09:46.920956+00', '2026-11-22 21:09:46.92719+00', '2036-11-19 21:09:46.92719+00', '2026-11-22 21:09:46.92719+00', NULL, NULL, false);
INSERT INTO public.uploads VALUES ('b9e9f624-1c6d-40e3-9e9f-f654081e997d', 'default', 'complete', 'tus', 3000, 3000, 'filename Y2xpcC5tcDQ=', 'clip.mp4', 'mp4', true, 'b9e9f624-1c6d-40e3-9e9f-f654081e997d', '2026-11-22 21:09:49.887001+00', '2026-11-22 21:09:49.926866+00', '2036-11-19 21:09:49.926866+00', '2026-11-22 21:09:49.926866+00', NULL, NULL, false);
INSERT INTO public.uploads VALUES ('07021493-6cc2-4851-a852-66846377e99e', 'default', 'open', 'tus', 9000, 0, 'filename Y2xpcC5tcDQ=', 'clip.mp4', NULL, true, '07021493-6cc2-4851-a852-66846377e99e', '2026-11-22 21:09:50.184772+00', '2026-11-22 21:09:50.184772+00', '2036-11-19 21:09:50.184772+00', NULL, NULL, NULL, false);
INSERT INTO public.uploads VALUES ('b21e80dc-6554-4097-b018-ca472a6fb849', 'default', 'terminated', 'tus', 100, 0, 'filename Y2xpcC5tcDQ=', 'clip.mp4', NULL, false, 'b21e80dc-6554-4097-b018-ca472a6fb849', '2026-11-22 21:09:50.191026+00', '2026-11-22 21:09:50.195551+00', '2036-11-19 21:09:50.191026+00', NULL, NULL, NULL, false);
INSERT INTO public.uploads VALUES ('5d8a885c-4517-48db-a340-8e177f0d0c0a', 'default', 'open', 'tus', 3000, 0, 'filename Y2xpcC5tcDQ=', 'clip.mp4', NULL, true, '5d8a885c-4517-48db-a340-8e177f0d0c0a', '2026-11-22 21:09:50.2027+00', '2026-11-22 21:09:50.2027+00', '2036-11-19 21:09:50.2027+00', NULL, NULL, 'partial', false);
INSERT INTO public.uploads VALUES ('a08d24ba-33cb-44ce-8ae1-64eee5b0c279', 'default', 'complete', 'tus', 2000, 2000, 'filename Y2xpcC5tcDQ=', 'clip.mp4', NULL, true, 'a08d24ba-33cb-44ce-8ae1-64eee5b0c279', '2026-11-22 21:09:50.199261+00', '2026-11-22 21:09:50.207855+00', '2036-11-19 21:09:50.207855+00', '2026-11-22 21:09:50.207855+00', NULL, 'partial', false);
INSERT INTO public.uploads VALUES ('3d48e846-8c86-4057-9b27-f6d6418d5a38', 'default', 'open', 'tus', 5000, 0, 'filename d2hvbGUubXA0', 'whole.mp4', NULL, true, '3d48e846-8c86-4057-9b27-f6d6418d5a38', '2026-11-22 21:09:50.230887+00', '2026-11-22 21:09:50.230887+00', '2036-11-19 21:09:50.230887+00', NULL, NULL, 'final;/files/a08d24ba-33cb-44ce-8ae1-64eee5b0c279 /files/5d8a885c-4517-48db-a340-8e177f0d0c0a', false);
INSERT INTO public.uploads VALUES ('9e8b4291-3686-430b-95fb-087d2946100d', 'default', 'complete', 'tus', 5000, 5000, 'filename d2hvbGUubXA0', 'whole.mp4', 'mp4', true, '9e8b4291-3686-430b-95fb-087d2946100d', '2026-11-22 21:09:50.306074+00', '2026-11-22 21:09:50.32593+00', '2036-11-19 21:09:50.32593+00', '2026-11-22 21:09:50.32593+00', NULL, 'final;/files/3b4d5049-c69c-4518-a159-8f2c2cc35ab4 /files/f28009c0-1721-48d9-b062-3c6ec96468fd', false);
INSERT INTO public.uploads VALUES ('3b4d5049-c69c-4518-a159-8f2c2cc35ab4', 'default', 'terminated', 'tus', 2500, 2500, 'filename Y2xpcC5tcDQ=', 'clip.mp4', NULL, false, '3b4d5049-c69c-4518-a159-8f2c2cc35ab4', '2026-11-22 21:09:50.249428+00', '2026-11-22 21:09:50.340462+00', '2036-11-19 21:09:50.27505+00', '2026-11-22 21:09:50.27505+00', NULL, 'partial', false);
INSERT INTO public.uploads VALUES ('f28009c0-1721-48d9-b062-3c6ec96468fd', 'default', 'terminated', 'tus', 2500, 2500, 'filename Y2xpcC5tcDQ=', 'clip.mp4', NULL, false, 'f28009c0-1721-48d9-b062-3c6ec96468fd', '2026-11-22 21:09:50.253874+00', '2026-11-22 21:09:50.361144+00', '2036-11-19 21:09:50.299009+00', '2026-11-22 21:09:50.299009+00', NULL, 'partial', false);
INSERT INTO public.uploads VALUES ('769fea93-8a93-40fb-834a-6bedb121103f', 'default', 'open', 'tus', 9000, 4000, 'filename Y2xpcC5tcDQ=', 'clip.mp4', 'mp4', true, '769fea93-8a93-40fb-834a-6bedb121103f', '2026-11-22 21:09:50.180201+00', '2026-11-22 21:09:50.189852+00', '2036-11-19 21:09:50.180201+00', NULL, NULL, NULL, false);
INSERT INTO public.uploads VALUES ('281ebcba-1bcf-4c82-b827-ae137d0acccf', 'default', 'complete', 'tus', 4000, 4000, 'filename Y2xpcC5tcDQ=', 'clip.mp4', 'mp4', true, '281ebcba-1bcf-4c82-b827-ae137d0acccf', '2026-11-22 21:09:53.033545+00', '2026-11-22 21:09:53.071686+00', '2036-11-19 21:09:53.071686+00', '2026-11-22 21:09:53.071686+00', NULL, NULL, false);
SELECT pg_catalog.setval('public.task_events_id_seq', 13, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.task_events
    ADD CONSTRAINT pk_task_events PRIMARY KEY (id);
ALTER TABLE ONLY public.task_files
    ADD CONSTRAINT pk_task_files PRIMARY KEY (id);
ALTER TABLE ONLY public.task_steps
    ADD CONSTRAINT pk_task_steps PRIMARY KEY (file_id, name);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT pk_tasks PRIMARY KEY (id);
ALTER TABLE ONLY public.upload_parts
    ADD CONSTRAINT pk_upload_parts PRIMARY KEY (final_id, "position");
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT pk_uploads PRIMARY KEY (id);
CREATE INDEX ix_task_events_task_id_id ON public.task_events USING btree (task_id, id);
CREATE UNIQUE INDEX ix_task_files_task_id_position ON public.task_files USING btree (task_id, "position");
CREATE UNIQUE INDEX ix_task_files_upload_id ON public.task_files USING btree (upload_id);
CREATE INDEX ix_tasks_open ON public.tasks USING btree (node, lease_expires_at, created_at) WHERE (finished_at IS NULL);
CREATE INDEX ix_tasks_open_of_owner ON public.tasks USING btree (node, owner, lease_expires_at, created_at) WHERE (finished_at IS NULL);
CREATE INDEX ix_tasks_owner_created_at ON public.tasks USING btree (owner, created_at);
CREATE INDEX ix_tasks_running ON public.tasks USING btree (node, owner) WHERE (worker IS NOT NULL);
CREATE INDEX ix_upload_parts_part_id ON public.upload_parts USING btree (part_id);
CREATE INDEX ix_uploads_removal ON public.uploads USING btree (status) WHERE has_bytes;
CREATE INDEX ix_uploads_status_expires_at ON public.uploads USING btree (status, expires_at);
CREATE INDEX ix_uploads_task_id ON public.uploads USING btree (task_id);
ALTER TABLE ONLY public.task_events
    ADD CONSTRAINT fk_task_events_task_id_tasks FOREIGN KEY (task_id) REFERENCES public.tasks(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.task_files
    ADD CONSTRAINT fk_task_files_task_id_tasks FOREIGN KEY (task_id) REFERENCES public.tasks(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.task_files
    ADD CONSTRAINT fk_task_files_upload_id_uploads FOREIGN KEY (upload_id) REFERENCES public.uploads(id);
ALTER TABLE ONLY public.task_steps
    ADD CONSTRAINT fk_task_steps_file_id_task_files FOREIGN KEY (file_id) REFERENCES public.task_files(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.upload_parts
    ADD CONSTRAINT fk_upload_parts_final_id_uploads FOREIGN KEY (final_id) REFERENCES public.uploads(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.upload_parts
    ADD CONSTRAINT fk_upload_parts_part_id_uploads FOREIGN KEY (part_id) REFERENCES public.uploads(id);
