BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE task_events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	task_id VARCHAR(36) NOT NULL, 
	at DATETIME NOT NULL, 
	type VARCHAR(32) NOT NULL, 
	attempt INTEGER NOT NULL, 
	data JSON, 
	CONSTRAINT fk_task_events_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
);
INSERT INTO "task_events" VALUES(1,'08397d54-1207-4bec-915e-d259d4e22520','2026-11-22 21:09:36.887050','uploaded',0,'{"files": 1}');
INSERT INTO "task_events" VALUES(2,'08397d54-1207-4bec-915e-d259d4e22520','2026-11-22 21:09:36.904105','processing',1,'{"worker": "fc252239-6ca2-406a-ba08-2a8ddff38836/17176"}');
INSERT INTO "task_events" VALUES(3,'08397d54-1207-4bec-915e-d259d4e22520','2026-11-22 21:09:39.931099','file_completed',1,'{"file": "9f347de3-2924-4062-b362-062cae491049"}');
INSERT INTO "task_events" VALUES(4,'08397d54-1207-4bec-915e-d259d4e22520','2026-11-22 21:09:39.951377','completed',1,'{"partial": false}');
INSERT INTO "task_events" VALUES(5,'2e7baa6a-c095-4ad1-97c0-ca79e5c63af3','2026-11-22 21:09:39.977606','uploaded',0,'{"files": 1}');
INSERT INTO "task_events" VALUES(6,'2e7baa6a-c095-4ad1-97c0-ca79e5c63af3','2026-11-22 21:09:39.981096','processing',1,'{"worker": "fc252239-6ca2-406a-ba08-2a8ddff38836/17176"}');
INSERT INTO "task_events" VALUES(7,'2e7baa6a-c095-4ad1-97c0-ca79e5c63af3','2026-11-22 21:09:40.223190','file_error',1,'{"file": "0c463d9b-5fac-41e6-9076-645ce5219236", "code": "not_playable"}');
INSERT INTO "task_events" VALUES(8,'2e7baa6a-c095-4ad1-97c0-ca79e5c63af3','2026-11-22 21:09:40.227576','error',1,'{"code": "not_playable"}');
INSERT INTO "task_events" VALUES(9,'78f2768a-eae8-4a62-bc30-eea59c9ec576','2026-11-22 21:09:40.405839','uploaded',0,'{"files": 1}');
INSERT INTO "task_events" VALUES(10,'78f2768a-eae8-4a62-bc30-eea59c9ec576','2026-11-22 21:09:40.408779','processing',1,'{"worker": "fc252239-6ca2-406a-ba08-2a8ddff38836/17176"}');
INSERT INTO "task_events" VALUES(11,'78f2768a-eae8-4a62-bc30-eea59c9ec576','2026-11-22 21:09:40.699036','file_error',1,'{"file": "75d797f1-d97f-498c-a70a-38f2e74b2d1a", "code": "not_playable"}');
INSERT INTO "task_events" VALUES(12,'78f2768a-eae8-4a62-bc30-eea59c9ec576','2026-11-22 21:09:40.701438','error',1,'{"code": "not_playable"}');
INSERT INTO "task_events" VALUES(13,'932dcacf-363a-4d37-bae9-810d05d40a51','2026-11-22 21:09:43.371092','uploaded',0,'{"files": 1}');
CREATE TABLE "task_files" (
	id VARCHAR(36) NOT NULL, 
	task_id VARCHAR(36) NOT NULL, 
	upload_id VARCHAR(36) NOT NULL, 
	position INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	safe_name TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	media_type VARCHAR(16), 
	status VARCHAR(16) NOT NULL, 
	progress INTEGER NOT NULL, 
	duration DOUBLE, 
	width INTEGER, 
	height INTEGER, 
	frame_rate DOUBLE, 
	container VARCHAR(16), 
	video_codec VARCHAR(32), 
	audio_codec VARCHAR(32), 
	has_poster BOOLEAN NOT NULL, 
	error_code VARCHAR(64), 
	error_params JSON, 
	has_mp4 BOOLEAN DEFAULT 0 NOT NULL, 
	has_hls BOOLEAN DEFAULT 0 NOT NULL, 
	has_storyboard BOOLEAN DEFAULT 0 NOT NULL, 
	playable BOOLEAN DEFAULT 0 NOT NULL, 
	scan VARCHAR(16), 
	audio_tracks INTEGER, 
	hdr BOOLEAN, 
	variable_frame_rate BOOLEAN, 
	CONSTRAINT pk_task_files PRIMARY KEY (id), 
	CONSTRAINT fk_task_files_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE, 
	CONSTRAINT fk_task_files_upload_id_uploads FOREIGN KEY(upload_id) REFERENCES uploads (id)
);
INSERT INTO "task_files" VALUES('9f347de3-2924-4062-b362-062cae491049','08397d54-1207-4bec-915e-d259d4e22520','3c809b95-5fe3-4d78-9591-da8047618678',1,'clip.mp4','clip.mp4',4660,'mp4','completed',100,0.4,64,64,25.0,'mp4','h264',NULL,1,NULL,NULL,1,1,1,1,'skipped',0,0,0);
INSERT INTO "task_files" VALUES('0c463d9b-5fac-41e6-9076-645ce5219236','2e7baa6a-c095-4ad1-97c0-ca79e5c63af3','2e7baa6a-c095-4ad1-97c0-ca79e5c63af3',1,'clip.mp4','clip.mp4',3000,'mp4','error',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'not_playable','{}',0,0,0,0,'skipped',NULL,NULL,NULL);
INSERT INTO "task_files" VALUES('75d797f1-d97f-498c-a70a-38f2e74b2d1a','78f2768a-eae8-4a62-bc30-eea59c9ec576','78f2768a-eae8-4a62-bc30-eea59c9ec576',1,'whole.mp4','whole.mp4',5000,'mp4','error',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'not_playable','{}',0,0,0,0,'skipped',NULL,NULL,NULL);
INSERT INTO "task_files" VALUES('463c3f45-215e-49ff-a28b-de7abf9e82ac','932dcacf-363a-4d37-bae9-810d05d40a51','932dcacf-363a-4d37-bae9-810d05d40a51',1,'clip.mp4','clip.mp4',4000,'mp4','waiting',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,0,0,0,0,NULL,NULL,NULL,NULL);
CREATE TABLE task_steps (
	file_id VARCHAR(36) NOT NULL, 
	name VARCHAR(16) NOT NULL, 
	position INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	progress INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	error_code VARCHAR(64), 
	error_params JSON, 
	started_at DATETIME, 
	finished_at DATETIME, 
	CONSTRAINT pk_task_steps PRIMARY KEY (file_id, name), 
	CONSTRAINT fk_task_steps_file_id_task_files FOREIGN KEY(file_id) REFERENCES task_files (id) ON DELETE CASCADE
);
INSERT INTO "task_steps" VALUES('9f347de3-2924-4062-b362-062cae491049','scan',1,'skipped',0,0,NULL,NULL,NULL,NULL);
INSERT INTO "task_steps" VALUES('9f347de3-2924-4062-b362-062cae491049','probe',2,'completed',100,0,NULL,'null','2026-11-22 21:09:37.096964','2026-11-22 21:09:37.511556');
INSERT INTO "task_steps" VALUES('9f347de3-2924-4062-b362-062cae491049','poster',3,'completed',100,0,NULL,'null','2026-11-22 21:09:37.546651','2026-11-22 21:09:38.642110');
INSERT INTO "task_steps" VALUES('9f347de3-2924-4062-b362-062cae491049','mp4',4,'completed',100,0,NULL,'null','2026-11-22 21:09:38.662783','2026-11-22 21:09:39.187180');
INSERT INTO "task_steps" VALUES('9f347de3-2924-4062-b362-062cae491049','hls',5,'completed',100,0,NULL,'null','2026-11-22 21:09:39.212600','2026-11-22 21:09:39.643752');
INSERT INTO "task_steps" VALUES('9f347de3-2924-4062-b362-062cae491049','storyboard',6,'completed',100,0,NULL,'null','2026-11-22 21:09:39.671379','2026-11-22 21:09:39.899578');
INSERT INTO "task_steps" VALUES('0c463d9b-5fac-41e6-9076-645ce5219236','scan',1,'skipped',0,0,NULL,NULL,NULL,NULL);
INSERT INTO "task_steps" VALUES('0c463d9b-5fac-41e6-9076-645ce5219236','probe',2,'error',0,0,'not_playable','{}','2026-11-22 21:09:39.988979','2026-11-22 21:09:40.210713');
INSERT INTO "task_steps" VALUES('0c463d9b-5fac-41e6-9076-645ce5219236','poster',3,'skipped',0,0,NULL,NULL,NULL,'2026-11-22 21:09:40.223190');
INSERT INTO "task_steps" VALUES('0c463d9b-5fac-41e6-9076-645ce5219236','mp4',4,'skipped',0,0,NULL,NULL,NULL,'2026-11-22 21:09:40.223190');
INSERT INTO "task_steps" VALUES('0c463d9b-5fac-41e6-9076-645ce5219236','hls',5,'skipped',0,0,NULL,NULL,NULL,'2026-11-22 21:09:40.223190');
INSERT INTO "task_steps" VALUES('0c463d9b-5fac-41e6-9076-645ce5219236','storyboard',6,'skipped',0,0,NULL,NULL,NULL,'2026-11-22 21:09:40.223190');
INSERT INTO "task_steps" VALUES('75d797f1-d97f-498c-a70a-38f2e74b2d1a','scan',1,'skipped',0,0,NULL,NULL,NULL,NULL);
INSERT INTO "task_steps" VALUES('75d797f1-d97f-498c-a70a-38f2e74b2d1a','probe',2,'error',0,0,'not_playable','{}','2026-11-22 21:09:40.424474','2026-11-22 21:09:40.696867');
INSERT INTO "task_steps" VALUES('75d797f1-d97f-498c-a70a-38f2e74b2d1a','poster',3,'skipped',0,0,NULL,NULL,NULL,'2026-11-22 21:09:40.699036');
INSERT INTO "task_steps" VALUES('75d797f1-d97f-498c-a70a-38f2e74b2d1a','mp4',4,'skipped',0,0,NULL,NULL,NULL,'2026-11-22 21:09:40.699036');
INSERT INTO "task_steps" VALUES('75d797f1-d97f-498c-a70a-38f2e74b2d1a','hls',5,'skipped',0,0,NULL,NULL,NULL,'2026-11-22 21:09:40.699036');
INSERT INTO "task_steps" VALUES('75d797f1-d97f-498c-a70a-38f2e74b2d1a','storyboard',6,'skipped',0,0,NULL,NULL,NULL,'2026-11-22 21:09:40.699036');
CREATE TABLE "tasks" (
	id VARCHAR(36) NOT NULL, 
	owner TEXT NOT NULL, 
	node VARCHAR(36) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	partial BOOLEAN NOT NULL, 
	progress INTEGER NOT NULL, 
	current_file INTEGER NOT NULL, 
	file_count INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	worker TEXT, 
	lease_expires_at DATETIME, 
	error_code VARCHAR(64), 
	error_params JSON, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	playable BOOLEAN DEFAULT 0 NOT NULL, 
	step VARCHAR(16), 
	eta_seconds INTEGER, 
	waiting_code VARCHAR(64), 
	waiting_params JSON, 
	CONSTRAINT pk_tasks PRIMARY KEY (id)
);
INSERT INTO "tasks" VALUES('08397d54-1207-4bec-915e-d259d4e22520','default','fc252239-6ca2-406a-ba08-2a8ddff38836','completed',0,100,1,1,1,0,NULL,NULL,NULL,NULL,'2026-11-22 21:09:36.887050','2026-11-22 21:09:39.951377','2026-11-22 21:09:36.904105','2026-11-22 21:09:39.951377',1,'storyboard',NULL,NULL,'null');
INSERT INTO "tasks" VALUES('2e7baa6a-c095-4ad1-97c0-ca79e5c63af3','default','fc252239-6ca2-406a-ba08-2a8ddff38836','error',0,0,0,1,1,0,NULL,NULL,'not_playable','{}','2026-11-22 21:09:39.977606','2026-11-22 21:09:40.227576','2026-11-22 21:09:39.981096','2026-11-22 21:09:40.227576',0,'probe',NULL,NULL,'null');
INSERT INTO "tasks" VALUES('78f2768a-eae8-4a62-bc30-eea59c9ec576','default','fc252239-6ca2-406a-ba08-2a8ddff38836','error',0,0,0,1,1,0,NULL,NULL,'not_playable','{}','2026-11-22 21:09:40.405839','2026-11-22 21:09:40.701438','2026-11-22 21:09:40.408779','2026-11-22 21:09:40.701438',0,'probe',NULL,NULL,'null');
INSERT INTO "tasks" VALUES('932dcacf-363a-4d37-bae9-810d05d40a51','default','fc252239-6ca2-406a-ba08-2a8ddff38836','uploaded',0,0,0,1,0,0,NULL,NULL,NULL,NULL,'2026-11-22 21:09:43.371092','2026-11-22 21:09:43.371092',NULL,NULL,0,NULL,NULL,NULL,NULL);
CREATE TABLE upload_parts (
	final_id VARCHAR(36) NOT NULL, 
	position INTEGER NOT NULL, 
	part_id VARCHAR(36) NOT NULL, 
	CONSTRAINT pk_upload_parts PRIMARY KEY (final_id, position), 
	CONSTRAINT fk_upload_parts_final_id_uploads FOREIGN KEY(final_id) REFERENCES uploads (id) ON DELETE CASCADE, 
	CONSTRAINT fk_upload_parts_part_id_uploads FOREIGN KEY(part_id) REFERENCES uploads (id)
);
INSERT INTO "upload_parts" VALUES('194e0fc3-c07d-474d-8bb0-19098915efae',1,'0350ae5d-32e2-4093-bcae-6eb37b51fc25');
INSERT INTO "upload_parts" VALUES('194e0fc3-c07d-474d-8bb0-19098915efae',2,'f6fe41c9-d8ff-4dab-bd0c-6df59f176641');
INSERT INTO "upload_parts" VALUES('78f2768a-eae8-4a62-bc30-eea59c9ec576',1,'98fe0a7b-a109-4b5a-b205-b5ce39fa2abb');
INSERT INTO "upload_parts" VALUES('78f2768a-eae8-4a62-bc30-eea59c9ec576',2,'0b36961e-621b-4de9-891a-7cbaad46b05d');
CREATE TABLE uploads (
	id VARCHAR(36) NOT NULL, 
	owner TEXT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	protocol VARCHAR(16) NOT NULL, 
	length BIGINT, 
	received BIGINT DEFAULT '0' NOT NULL, 
	metadata_raw TEXT, 
	filename TEXT, 
	media_type VARCHAR(16), 
	has_bytes BOOLEAN NOT NULL, 
	task_id VARCHAR(36) NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	completed_at DATETIME, checked_from BIGINT, concat TEXT, resumed BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_uploads PRIMARY KEY (id)
);
INSERT INTO "uploads" VALUES('3c809b95-5fe3-4d78-9591-da8047618678','default','complete','multipart',4660,4660,NULL,'clip.mp4','mp4',1,'08397d54-1207-4bec-915e-d259d4e22520','2026-11-22 21:09:36.865180','2026-11-22 21:09:36.887050','2036-11-19 21:09:36.887050','2026-11-22 21:09:36.887050',NULL,NULL,0);
INSERT INTO "uploads" VALUES('2e7baa6a-c095-4ad1-97c0-ca79e5c63af3','default','complete','tus',3000,3000,'filename Y2xpcC5tcDQ=','clip.mp4','mp4',1,'2e7baa6a-c095-4ad1-97c0-ca79e5c63af3','2026-11-22 21:09:39.967448','2026-11-22 21:09:39.977606','2036-11-19 21:09:39.977606','2026-11-22 21:09:39.977606',NULL,NULL,0);
INSERT INTO "uploads" VALUES('21542238-fcd2-4981-8809-63e5d165f7ee','default','open','tus',9000,4000,'filename Y2xpcC5tcDQ=','clip.mp4','mp4',1,'21542238-fcd2-4981-8809-63e5d165f7ee','2026-11-22 21:09:40.247822','2026-11-22 21:09:40.253803','2036-11-19 21:09:40.247822',NULL,NULL,NULL,0);
INSERT INTO "uploads" VALUES('6d02d5d9-cd15-46fe-8145-b0a1858b660c','default','open','tus',9000,0,'filename Y2xpcC5tcDQ=','clip.mp4',NULL,1,'6d02d5d9-cd15-46fe-8145-b0a1858b660c','2026-11-22 21:09:40.249677','2026-11-22 21:09:40.249677','2036-11-19 21:09:40.249677',NULL,NULL,NULL,0);
INSERT INTO "uploads" VALUES('f83dd10c-f00c-457a-9a3f-293ed63b9a2f','default','terminated','tus',100,0,'filename Y2xpcC5tcDQ=','clip.mp4',NULL,0,'f83dd10c-f00c-457a-9a3f-293ed63b9a2f','2026-11-22 21:09:40.261486','2026-11-22 21:09:40.263092','2036-11-19 21:09:40.261486',NULL,NULL,NULL,0);
INSERT INTO "uploads" VALUES('0350ae5d-32e2-4093-bcae-6eb37b51fc25','default','complete','tus',2000,2000,'filename Y2xpcC5tcDQ=','clip.mp4',NULL,1,'0350ae5d-32e2-4093-bcae-6eb37b51fc25','2026-11-22 21:09:40.267744','2026-11-22 21:09:40.291056','2036-11-19 21:09:40.291056','2026-11-22 21:09:40.291056',NULL,'partial',0);
INSERT INTO "uploads" VALUES('f6fe41c9-d8ff-4dab-bd0c-6df59f176641','default','open','tus',3000,0,'filename Y2xpcC5tcDQ=','clip.mp4',NULL,1,'f6fe41c9-d8ff-4dab-bd0c-6df59f176641','2026-11-22 21:09:40.270854','2026-11-22 21:09:40.270854','2036-11-19 21:09:40.270854',NULL,NULL,'partial',0);
INSERT INTO "uploads" VALUES('194e0fc3-c07d-474d-8bb0-19098915efae','default','open','tus',5000,0,'filename d2hvbGUubXA0','whole.mp4',NULL,1,'194e0fc3-c07d-474d-8bb0-19098915efae','2026-11-22 21:09:40.308934','2026-11-22 21:09:40.308934','2036-11-19 21:09:40.308934',NULL,NULL,'final;/files/0350ae5d-32e2-4093-bcae-6eb37b51fc25 /files/f6fe41c9-d8ff-4dab-bd0c-6df59f176641',0);
INSERT INTO "uploads" VALUES('98fe0a7b-a109-4b5a-b205-b5ce39fa2abb','default','terminated','tus',2500,2500,'filename Y2xpcC5tcDQ=','clip.mp4',NULL,0,'98fe0a7b-a109-4b5a-b205-b5ce39fa2abb','2026-11-22 21:09:40.328472','2026-11-22 21:09:40.423763','2036-11-19 21:09:40.359036','2026-11-22 21:09:40.359036',NULL,'partial',0);
INSERT INTO "uploads" VALUES('0b36961e-621b-4de9-891a-7cbaad46b05d','default','terminated','tus',2500,2500,'filename Y2xpcC5tcDQ=','clip.mp4',NULL,0,'0b36961e-621b-4de9-891a-7cbaad46b05d','2026-11-22 21:09:40.335186','2026-11-22 21:09:40.415737','2036-11-19 21:09:40.382768','2026-11-22 21:09:40.382768',NULL,'partial',0);
INSERT INTO "uploads" VALUES('78f2768a-eae8-4a62-bc30-eea59c9ec576','default','complete','tus',5000,5000,'filename d2hvbGUubXA0','whole.mp4','mp4',1,'78f2768a-eae8-4a62-bc30-eea59c9ec576','2026-11-22 21:09:40.388629','2026-11-22 21:09:40.405839','2036-11-19 21:09:40.405839','2026-11-22 21:09:40.405839',NULL,'final;/files/98fe0a7b-a109-4b5a-b205-b5ce39fa2abb /files/0b36961e-621b-4de9-891a-7cbaad46b05d',0);
INSERT INTO "uploads" VALUES('932dcacf-363a-4d37-bae9-810d05d40a51','default','complete','tus',4000,4000,'filename Y2xpcC5tcDQ=','clip.mp4','mp4',1,'932dcacf-363a-4d37-bae9-810d05d40a51','2026-11-22 21:09:43.342978','2026-11-22 21:09:43.371092','2036-11-19 21:09:43.371092','2026-11-22 21:09:43.371092',NULL,NULL,0);
CREATE INDEX ix_uploads_removal ON uploads (status) WHERE has_bytes;
CREATE INDEX ix_uploads_status_expires_at ON uploads (status, expires_at);
CREATE INDEX ix_uploads_task_id ON uploads (task_id);
CREATE INDEX ix_task_events_task_id_id ON task_events (task_id, id);
CREATE INDEX ix_upload_parts_part_id ON upload_parts (part_id);
CREATE INDEX ix_tasks_owner_created_at ON tasks (owner, created_at);
CREATE UNIQUE INDEX ix_task_files_task_id_position ON task_files (task_id, position);
CREATE UNIQUE INDEX ix_task_files_upload_id ON task_files (upload_id);
CREATE INDEX ix_tasks_open ON tasks (node, lease_expires_at, created_at) WHERE finished_at IS NULL;
CREATE INDEX ix_tasks_open_of_owner ON tasks (node, owner, lease_expires_at, created_at) WHERE finished_at IS NULL;
CREATE INDEX ix_tasks_running ON tasks (node, owner) WHERE worker IS NOT NULL;
CREATE VIEW uploads_per_day AS
SELECT day,
       count(*) AS uploads,
       CAST(sum(received) AS BIGINT) AS bytes,
       count(*) FILTER (WHERE is_completed) AS completed,
       count(*) FILTER (WHERE status = 'expired') AS expired,
       count(*) FILTER (WHERE is_completed AND is_resumed) AS resumed
FROM (
    SELECT date(u.created_at) AS day,
           u.status,
           u.received,
           u.completed_at IS NOT NULL AS is_completed,
           u.resumed OR (u.concat IS NOT NULL AND EXISTS (
               SELECT 1
               FROM upload_parts p JOIN uploads part ON part.id = p.part_id
               WHERE p.final_id = u.id AND part.resumed
           )) AS is_resumed
    FROM uploads u
    WHERE u.concat IS NULL OR u.concat <> 'partial'
) AS one
GROUP BY day;
CREATE VIEW tasks_by_status AS
SELECT status,
       count(*) AS tasks,
       count(*) FILTER (WHERE partial) AS partly_failed,
       sum(file_count) AS files,
       CAST(round(avg((julianday(started_at) - julianday(created_at)) * 86400), 3) AS DOUBLE PRECISION) AS waited_seconds,
       CAST(round(avg((julianday(finished_at) - julianday(created_at)) * 86400), 3) AS DOUBLE PRECISION) AS processed_seconds,
       CAST(round(max((julianday(finished_at) - julianday(created_at)) * 86400), 3) AS DOUBLE PRECISION) AS longest_seconds
FROM tasks
GROUP BY status;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('task_events',13);
COMMIT;
