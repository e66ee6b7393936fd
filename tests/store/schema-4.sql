BEGIN TRANSACTION;
CREATE TABLE audit (
	id TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	what TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	number TEXT, 
	record JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit" VALUES('aud_01KE3Y00000000000000000001',1767517200123456,'event.deleted','fax_01KE3YEARLIER','+97239876543','{"type": "fax.received", "documents": []}');
CREATE TABLE console_session (
	hash TEXT NOT NULL, 
	id TEXT NOT NULL, 
	user TEXT NOT NULL, 
	password TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	client TEXT NOT NULL, 
	agent TEXT NOT NULL, 
	PRIMARY KEY (hash), 
	UNIQUE (id)
);
CREATE TABLE "counter" (
	kind TEXT NOT NULL, 
	endpoint TEXT NOT NULL, 
	state TEXT NOT NULL, 
	n BIGINT NOT NULL, 
	PRIMARY KEY (kind, endpoint, state)
);
INSERT INTO "counter" VALUES('delivery','crm','delivered',5);
INSERT INTO "counter" VALUES('delivery','erp','pending',18);
INSERT INTO "counter" VALUES('delivery','crm','dead',2);
INSERT INTO "counter" VALUES('delivery','crm','pending',10);
INSERT INTO "counter" VALUES('delivery','crm','sending',1);
INSERT INTO "counter" VALUES('fax','','queued',2);
INSERT INTO "counter" VALUES('fax','','uploading',1);
INSERT INTO "counter" VALUES('fax','','submitted',1);
INSERT INTO "counter" VALUES('fax','','in_doubt',1);
INSERT INTO "counter" VALUES('fax','','delivered',1);
INSERT INTO "counter" VALUES('fax','','failed',1);
INSERT INTO "counter" VALUES('fax','','cancelled',1);
CREATE TABLE cursor (
	mailbox TEXT NOT NULL, 
	folder TEXT NOT NULL, 
	uidvalidity BIGINT NOT NULL, 
	last_uid BIGINT NOT NULL, 
	PRIMARY KEY (mailbox, folder)
);
INSERT INTO "cursor" VALUES('office','INBOX',7,42);
CREATE TABLE delivery (
	id TEXT NOT NULL, 
	event_id TEXT NOT NULL, 
	endpoint TEXT NOT NULL, 
	state TEXT NOT NULL, 
	due_at BIGINT NOT NULL, 
	attempts INTEGER NOT NULL, 
	status INTEGER, 
	error TEXT, 
	settled_at BIGINT, address TEXT, envelope_id TEXT, notice JSON, node TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000004','evt_01KE3Y00000000000000000003','crm','delivered',1767517200123456,1,200,NULL,1767520800123456,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000005','evt_01KE3Y00000000000000000003','erp','pending',1767517200123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000009','evt_01KE3Y00000000000000000008','crm','delivered',1767517260123456,1,200,NULL,1767520800123456,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000010','evt_01KE3Y00000000000000000008','erp','pending',1767517260123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000014','evt_01KE3Y00000000000000000013','crm','dead',1767517320123456,1,410,'gone',1767520800123456,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000015','evt_01KE3Y00000000000000000013','erp','pending',1767517320123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000017','evt_01KE3Y00000000000000000016','crm','dead',1767517334123456,1,410,'gone',1767520800123456,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000018','evt_01KE3Y00000000000000000016','erp','pending',1767517334123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000022','evt_01KE3Y00000000000000000021','crm','pending',1767521100123456,1,503,'busy',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000023','evt_01KE3Y00000000000000000021','erp','pending',1767517380123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000025','evt_01KE3Y00000000000000000024','crm','sending',1767517394123456,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000026','evt_01KE3Y00000000000000000024','erp','pending',1767517394123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000031','evt_01KE3Y00000000000000000030','crm','pending',1767517440123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000032','evt_01KE3Y00000000000000000030','erp','pending',1767517440123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000034','evt_01KE3Y00000000000000000033','crm','pending',1767517440123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000035','evt_01KE3Y00000000000000000033','erp','pending',1767517440123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000037','evt_01KE3Y00000000000000000036','crm','pending',1767517454123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000038','evt_01KE3Y00000000000000000036','erp','pending',1767517454123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000040','evt_01KE3Y00000000000000000039','crm','pending',1767517461123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000041','evt_01KE3Y00000000000000000039','erp','pending',1767517461123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000045','evt_01KE3Y00000000000000000044','crm','pending',1767517500123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000046','evt_01KE3Y00000000000000000044','erp','pending',1767517500123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000048','evt_01KE3Y00000000000000000047','crm','pending',1767517514123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000049','evt_01KE3Y00000000000000000047','erp','pending',1767517514123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000051','evt_01KE3Y00000000000000000050','crm','pending',1767517521123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000052','evt_01KE3Y00000000000000000050','erp','pending',1767517521123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000056','evt_01KE3Y00000000000000000055','crm','pending',1767517560123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000057','evt_01KE3Y00000000000000000055','erp','pending',1767517560123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000059','evt_01KE3Y00000000000000000058','crm','pending',1767517567123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000060','evt_01KE3Y00000000000000000058','erp','pending',1767517567123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000062','evt_01KE3Y00000000000000000061','crm','delivered',1767517200123456,1,200,NULL,1767520800123456,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000063','evt_01KE3Y00000000000000000061','erp','pending',1767517200123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000065','evt_01KE3Y00000000000000000064','crm','delivered',1767517200123456,1,200,NULL,1767520800123456,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000066','evt_01KE3Y00000000000000000064','erp','pending',1767517200123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000068','evt_01KE3Y00000000000000000067','crm','delivered',1767517200123456,1,200,NULL,1767520800123456,NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES('dlv_01KE3Y00000000000000000069','evt_01KE3Y00000000000000000067','erp','pending',1767517200123456,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE delivery_try (
	id TEXT NOT NULL, 
	delivery_id TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	milliseconds INTEGER NOT NULL, 
	status INTEGER, 
	error TEXT, 
	answer TEXT, 
	PRIMARY KEY (id)
);
CREATE TABLE envelope (
	id TEXT NOT NULL, 
	"key" TEXT, 
	path TEXT NOT NULL, 
	received_at BIGINT NOT NULL, 
	record JSON NOT NULL, 
	user TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "envelope" VALUES('env_01KE3Y00000000000000000001',NULL,'mail/00/env_01KE3Y00000000000000000001.eml',1767517200123456,'{"id": "env_01KE3Y00000000000000000001", "sender": "dana@example.co.il", "recipients": [{"number": "+97239876540", "address": "+97239876540@fax.local", "notify": null, "orcpt": null}], "path": "mail/00/env_01KE3Y00000000000000000001.eml", "size": 1000, "received_at": "2026-01-04T09:00:00.123456+00:00", "message_id": "<0@example.co.il>", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea", "account": "office", "user": null, "envid": null, "ret": null}',NULL);
INSERT INTO "envelope" VALUES('env_01KE3Y00000000000000000006','key1','mail/01/env_01KE3Y00000000000000000006.eml',1767517260123456,'{"id": "env_01KE3Y00000000000000000006", "sender": "dana@example.co.il", "recipients": [{"number": "+97239876541", "address": "+97239876541@fax.local", "notify": null, "orcpt": null}], "path": "mail/01/env_01KE3Y00000000000000000006.eml", "size": 1001, "received_at": "2026-01-04T09:01:00.123456+00:00", "message_id": "<1@example.co.il>", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea", "account": "office", "user": "erp", "envid": null, "ret": null}','erp');
INSERT INTO "envelope" VALUES('env_01KE3Y00000000000000000011','key2','mail/02/env_01KE3Y00000000000000000011.eml',1767517320123456,'{"id": "env_01KE3Y00000000000000000011", "sender": "dana@example.co.il", "recipients": [{"number": "+97239876542", "address": "+97239876542@fax.local", "notify": null, "orcpt": null}], "path": "mail/02/env_01KE3Y00000000000000000011.eml", "size": 1002, "received_at": "2026-01-04T09:02:00.123456+00:00", "message_id": "<2@example.co.il>", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea", "account": "office", "user": null, "envid": null, "ret": null}',NULL);
INSERT INTO "envelope" VALUES('env_01KE3Y00000000000000000019','key3','mail/03/env_01KE3Y00000000000000000019.eml',1767517380123456,'{"id": "env_01KE3Y00000000000000000019", "sender": "dana@example.co.il", "recipients": [{"number": "+97239876543", "address": "+97239876543@fax.local", "notify": null, "orcpt": null}], "path": "mail/03/env_01KE3Y00000000000000000019.eml", "size": 1003, "received_at": "2026-01-04T09:03:00.123456+00:00", "message_id": "<3@example.co.il>", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea", "account": "office", "user": "erp", "envid": null, "ret": null}','erp');
INSERT INTO "envelope" VALUES('env_01KE3Y00000000000000000027','key4','mail/04/env_01KE3Y00000000000000000027.eml',1767517440123456,'{"id": "env_01KE3Y00000000000000000027", "sender": "dana@example.co.il", "recipients": [{"number": "+97239876544", "address": "+97239876544@fax.local", "notify": null, "orcpt": null}, {"number": "+97231111111", "address": "+97231111111@fax.local", "notify": null, "orcpt": null}], "path": "mail/04/env_01KE3Y00000000000000000027.eml", "size": 1004, "received_at": "2026-01-04T09:04:00.123456+00:00", "message_id": "<4@example.co.il>", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea", "account": "office", "user": null, "envid": null, "ret": null}',NULL);
INSERT INTO "envelope" VALUES('env_01KE3Y00000000000000000042','key5','mail/05/env_01KE3Y00000000000000000042.eml',1767517500123456,'{"id": "env_01KE3Y00000000000000000042", "sender": "dana@example.co.il", "recipients": [{"number": "+97239876545", "address": "+97239876545@fax.local", "notify": null, "orcpt": null}], "path": "mail/05/env_01KE3Y00000000000000000042.eml", "size": 1005, "received_at": "2026-01-04T09:05:00.123456+00:00", "message_id": "<5@example.co.il>", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea", "account": "office", "user": "erp", "envid": null, "ret": null}','erp');
INSERT INTO "envelope" VALUES('env_01KE3Y00000000000000000053','key6','mail/06/env_01KE3Y00000000000000000053.eml',1767517560123456,'{"id": "env_01KE3Y00000000000000000053", "sender": "dana@example.co.il", "recipients": [{"number": "+97239876546", "address": "+97239876546@fax.local", "notify": null, "orcpt": null}], "path": "mail/06/env_01KE3Y00000000000000000053.eml", "size": 1006, "received_at": "2026-01-04T09:06:00.123456+00:00", "message_id": "<6@example.co.il>", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea", "account": "office", "user": null, "envid": null, "ret": null}',NULL);
CREATE TABLE event (
	id TEXT NOT NULL, 
	type TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	fax_id TEXT, 
	seq INTEGER NOT NULL, 
	data JSON NOT NULL, 
	document TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000003','fax.queued',1767517200123456,'fax_01KE3Y00000000000000000002',1,'{"fax_id": "fax_01KE3Y00000000000000000002", "seq": 1, "status": "queued", "to": "+97239876540"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000008','fax.queued',1767517260123456,'fax_01KE3Y00000000000000000007',1,'{"fax_id": "fax_01KE3Y00000000000000000007", "seq": 1, "status": "queued", "to": "+97239876541"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000013','fax.queued',1767517320123456,'fax_01KE3Y00000000000000000012',1,'{"fax_id": "fax_01KE3Y00000000000000000012", "seq": 1, "status": "queued", "to": "+97239876542"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000016','fax.submitted',1767517334123456,'fax_01KE3Y00000000000000000012',2,'{"fax_id": "fax_01KE3Y00000000000000000012", "seq": 2, "status": "submitted", "to": "+97239876542"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000021','fax.queued',1767517380123456,'fax_01KE3Y00000000000000000020',1,'{"fax_id": "fax_01KE3Y00000000000000000020", "seq": 1, "status": "queued", "to": "+97239876543"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000024','fax.in_doubt',1767517394123456,'fax_01KE3Y00000000000000000020',2,'{"fax_id": "fax_01KE3Y00000000000000000020", "seq": 2, "status": "in_doubt", "to": "+97239876543"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000030','fax.queued',1767517440123456,'fax_01KE3Y00000000000000000028',1,'{"fax_id": "fax_01KE3Y00000000000000000028", "seq": 1, "status": "queued", "to": "+97239876544"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000033','fax.queued',1767517440123456,'fax_01KE3Y00000000000000000029',1,'{"fax_id": "fax_01KE3Y00000000000000000029", "seq": 1, "status": "queued", "to": "+97231111111"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000036','fax.submitted',1767517454123456,'fax_01KE3Y00000000000000000028',2,'{"fax_id": "fax_01KE3Y00000000000000000028", "seq": 2, "status": "submitted", "to": "+97239876544"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000039','fax.delivered',1767517461123456,'fax_01KE3Y00000000000000000028',3,'{"fax_id": "fax_01KE3Y00000000000000000028", "seq": 3, "status": "delivered", "to": "+97239876544"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000044','fax.queued',1767517500123456,'fax_01KE3Y00000000000000000043',1,'{"fax_id": "fax_01KE3Y00000000000000000043", "seq": 1, "status": "queued", "to": "+97239876545"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000047','fax.submitted',1767517514123456,'fax_01KE3Y00000000000000000043',2,'{"fax_id": "fax_01KE3Y00000000000000000043", "seq": 2, "status": "submitted", "to": "+97239876545"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000050','fax.failed',1767517521123456,'fax_01KE3Y00000000000000000043',3,'{"fax_id": "fax_01KE3Y00000000000000000043", "seq": 3, "status": "failed", "to": "+97239876545"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000055','fax.queued',1767517560123456,'fax_01KE3Y00000000000000000054',1,'{"fax_id": "fax_01KE3Y00000000000000000054", "seq": 1, "status": "queued", "to": "+97239876546"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000058','fax.cancelled',1767517567123456,'fax_01KE3Y00000000000000000054',2,'{"fax_id": "fax_01KE3Y00000000000000000054", "seq": 2, "status": "cancelled", "to": "+97239876546"}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000061','fax.received',1767517200123456,'fax_01KE3YRECEIVED',1,'{"fax_id": "fax_01KE3YRECEIVED", "seq": 1, "from": "+97288888888", "to": "+97239999999", "document": {"path": "received/07/fax_01KE3YRECEIVED", "sha256": "abababababababababababababababababababababababababababababababab", "size": 1234, "content_type": "application/pdf", "filename": "in.pdf", "pages": null}}','received/07/fax_01KE3YRECEIVED');
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000064','fax.received',1767517200123456,'fax_01KE3YBARE',1,'{"fax_id": "fax_01KE3YBARE", "seq": 1, "from": null, "document": null}',NULL);
INSERT INTO "event" VALUES('evt_01KE3Y00000000000000000067','mailbox.down',1767517200123456,NULL,0,'{"mailbox": "office", "error": "x"}',NULL);
CREATE TABLE fax (
	id TEXT NOT NULL, 
	envelope_id TEXT, 
	account TEXT NOT NULL, 
	number TEXT NOT NULL, 
	state TEXT NOT NULL, 
	token TEXT NOT NULL, 
	seq INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	due_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	final_at BIGINT, 
	fax_code TEXT, 
	pages INTEGER, 
	polls INTEGER NOT NULL, 
	price TEXT, 
	credit_left TEXT, 
	source TEXT, 
	documents JSON NOT NULL, 
	attempts JSON NOT NULL, 
	failure JSON, 
	email JSON NOT NULL, 
	report JSON, 
	tags JSON NOT NULL, 
	documents_deleted_at BIGINT, user TEXT, same_key TEXT, repeat_of TEXT, client TEXT, restored_at BIGINT, currency TEXT, node TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (token)
);
INSERT INTO "fax" VALUES('fax_01KE3Y00000000000000000002','env_01KE3Y00000000000000000001','office','+97239876540','queued','MB-00000000',1,1767517200123456,1767517200123456,1767603600123456,NULL,NULL,2,0,NULL,NULL,NULL,'[{"name": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea.pdf", "content_type": "application/pdf", "size": 700, "sha256": "0000000000000000000000000000000000000000000000000000000000000000", "path": "mail/00/env_01KE3Y00000000000000000001.eml", "offset": 300, "length": 960, "encoding": "base64", "pages": 2}]','[]','null','{"message_id": "<0@example.co.il>", "envelope_id": null, "sender": "dana@example.co.il", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea"}','null','{"case": "0"}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "fax" VALUES('fax_01KE3Y00000000000000000007','env_01KE3Y00000000000000000006','office','+97239876541','uploading','MB-00000010',1,1767517260123456,1767517260123456,1767603660123456,NULL,NULL,2,0,NULL,NULL,NULL,'[{"name": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea.pdf", "content_type": "application/pdf", "size": 700, "sha256": "000000000000000000000000000000000000000000000000000000000000000a", "path": "mail/01/env_01KE3Y00000000000000000006.eml", "offset": 300, "length": 960, "encoding": "base64", "pages": 2}]','[{"n": 1, "started_at": "2026-01-04T09:01:07.123456+00:00", "digests": ["000000000000000000000000000000000000000000000000000000000000000a"], "whole_at": null, "ended_at": null, "fax_code": null, "error_code": null}]','null','{"message_id": "<1@example.co.il>", "envelope_id": null, "sender": "dana@example.co.il", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea"}','null','{"case": "10"}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "fax" VALUES('fax_01KE3Y00000000000000000012','env_01KE3Y00000000000000000011','office','+97239876542','submitted','MB-00000020',2,1767517320123456,1767517320123456,1767603720123456,NULL,'3cf6c2ae-0000-4000-8000-000000000002',2,0,NULL,NULL,NULL,'[{"name": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea.pdf", "content_type": "application/pdf", "size": 700, "sha256": "0000000000000000000000000000000000000000000000000000000000000014", "path": "mail/02/env_01KE3Y00000000000000000011.eml", "offset": 300, "length": 960, "encoding": "base64", "pages": 2}]','[{"n": 1, "started_at": "2026-01-04T09:02:07.123456+00:00", "digests": ["0000000000000000000000000000000000000000000000000000000000000014"], "whole_at": null, "ended_at": null, "fax_code": null, "error_code": null}]','null','{"message_id": "<2@example.co.il>", "envelope_id": null, "sender": "dana@example.co.il", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea"}','null','{"case": "20"}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "fax" VALUES('fax_01KE3Y00000000000000000020','env_01KE3Y00000000000000000019','office','+97239876543','in_doubt','MB-00000030',2,1767517380123456,1767517380123456,1767603780123456,NULL,NULL,2,0,NULL,NULL,NULL,'[{"name": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea.pdf", "content_type": "application/pdf", "size": 700, "sha256": "000000000000000000000000000000000000000000000000000000000000001e", "path": "mail/03/env_01KE3Y00000000000000000019.eml", "offset": 300, "length": 960, "encoding": "base64", "pages": 2}]','[{"n": 1, "started_at": "2026-01-04T09:03:07.123456+00:00", "digests": ["000000000000000000000000000000000000000000000000000000000000001e"], "whole_at": null, "ended_at": null, "fax_code": null, "error_code": null}]','null','{"message_id": "<3@example.co.il>", "envelope_id": null, "sender": "dana@example.co.il", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea"}','null','{"case": "30"}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "fax" VALUES('fax_01KE3Y00000000000000000028','env_01KE3Y00000000000000000027','office','+97239876544','delivered','MB-00000040',3,1767517440123456,1767517440123456,1767603840123456,1767517461123456,'3cf6c2ae-0000-4000-8000-000000000004',2,3,'0.40','118','poll','[{"name": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea.pdf", "content_type": "application/pdf", "size": 700, "sha256": "0000000000000000000000000000000000000000000000000000000000000028", "path": "mail/04/env_01KE3Y00000000000000000027.eml", "offset": 300, "length": 960, "encoding": "base64", "pages": 2}]','[{"n": 1, "started_at": "2026-01-04T09:04:07.123456+00:00", "digests": ["0000000000000000000000000000000000000000000000000000000000000028"], "whole_at": null, "ended_at": null, "fax_code": null, "error_code": null}]','null','{"message_id": "<4@example.co.il>", "envelope_id": null, "sender": "dana@example.co.il", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea"}','{"status": "Success", "status_code": 9}','{"case": "40"}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "fax" VALUES('fax_01KE3Y00000000000000000029','env_01KE3Y00000000000000000027','office','+97231111111','queued','MB-00000041',1,1767517440123456,1767517440123456,1767603840123456,NULL,NULL,2,0,NULL,NULL,NULL,'[{"name": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea.pdf", "content_type": "application/pdf", "size": 700, "sha256": "0000000000000000000000000000000000000000000000000000000000000029", "path": "mail/04/env_01KE3Y00000000000000000027.eml", "offset": 300, "length": 960, "encoding": "base64", "pages": 2}]','[]','null','{"message_id": "<4@example.co.il>", "envelope_id": null, "sender": "dana@example.co.il", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea"}','null','{"case": "41"}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "fax" VALUES('fax_01KE3Y00000000000000000043','env_01KE3Y00000000000000000042','office','+97239876545','failed','MB-00000050',3,1767517500123456,1767517500123456,1767603900123456,1767517521123456,'3cf6c2ae-0000-4000-8000-000000000005',2,0,NULL,NULL,'report','[{"name": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea.pdf", "content_type": "application/pdf", "size": 700, "sha256": "0000000000000000000000000000000000000000000000000000000000000032", "path": "mail/05/env_01KE3Y00000000000000000042.eml", "offset": 300, "length": 960, "encoding": "base64", "pages": 2}]','[{"n": 1, "started_at": "2026-01-04T09:05:07.123456+00:00", "digests": ["0000000000000000000000000000000000000000000000000000000000000032"], "whole_at": null, "ended_at": null, "fax_code": null, "error_code": null}]','{"code": "busy", "message": "busy", "provider_code": 3}','{"message_id": "<5@example.co.il>", "envelope_id": null, "sender": "dana@example.co.il", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea"}','null','{"case": "50"}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "fax" VALUES('fax_01KE3Y00000000000000000054','env_01KE3Y00000000000000000053','office','+97239876546','cancelled','MB-00000060',2,1767517560123456,1767517560123456,1767603960123456,1767517567123456,NULL,2,0,NULL,NULL,NULL,'[{"name": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea.pdf", "content_type": "application/pdf", "size": 700, "sha256": "000000000000000000000000000000000000000000000000000000000000003c", "path": "mail/06/env_01KE3Y00000000000000000053.eml", "offset": 300, "length": 960, "encoding": "base64", "pages": 2}]','[]','null','{"message_id": "<6@example.co.il>", "envelope_id": null, "sender": "dana@example.co.il", "subject": "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea"}','null','{"case": "60"}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE former_token (
	token TEXT NOT NULL, 
	fax_id TEXT NOT NULL, 
	PRIMARY KEY (token)
);
CREATE TABLE "listing_progress" (
	account TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	started_at BIGINT NOT NULL, 
	compared_at BIGINT, 
	PRIMARY KEY (account, kind)
);
INSERT INTO "listing_progress" VALUES('office','incoming',1767517200123456,1767520800123456);
INSERT INTO "listing_progress" VALUES('office','voice',1767517200123456,NULL);
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema','4');
INSERT INTO "meta" VALUES('made','2026-01-04T09:00:00.123456+00:00');
INSERT INTO "meta" VALUES('condition: mailbox office is down','on');
CREATE TABLE "pending_deletion" (
	path TEXT NOT NULL, 
	files JSON NOT NULL, 
	lines JSON NOT NULL, 
	PRIMARY KEY (path)
);
INSERT INTO "pending_deletion" VALUES('received/07/fax_01KE3YGONE','["received/07/fax_01KE3YGONE"]','[{"what": "document.deleted", "subject": "fax_01KE3YGONE", "number": "+97239876543", "record": {"type": "fax.received", "documents": []}}]');
CREATE TABLE "processed_mail" (
	mailbox TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (mailbox, digest)
);
INSERT INTO "processed_mail" VALUES('office','digest0',1767517200123456);
INSERT INTO "processed_mail" VALUES('office','digest1',1767517200123456);
INSERT INTO "processed_mail" VALUES('office','digest2',1767517200123456);
CREATE TABLE "received_item" (
	id TEXT NOT NULL, 
	account TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	caller TEXT, 
	called TEXT, 
	at BIGINT NOT NULL, 
	noted_at BIGINT NOT NULL, 
	listing_id TEXT, 
	url TEXT, 
	mailed BOOLEAN NOT NULL, 
	trusted BOOLEAN NOT NULL, 
	sha256 TEXT, 
	event_id TEXT, 
	due_at BIGINT, 
	tries INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "received_item" VALUES('fax_01KE3YRECEIVED','office','incoming','+97239876543','+97289999999',1767517200123456,1767517260123456,NULL,NULL,1,1,'abababababababababababababababababababababababababababababababab','evt_01KE3Y00000000000000000061',NULL,0);
INSERT INTO "received_item" VALUES('fax_01KE3YLISTED','office','incoming',NULL,'+97289999999',1767520800123456,1767520800123456,'8d1f0a8e','https://www.myfax.co.il/getfile?id=8d1f0a8e',0,1,NULL,NULL,1767521100123456,2);
INSERT INTO "received_item" VALUES('fax_01KE3YVOICE','office','voice','+97231234567',NULL,1767517200123456,1767517200123456,'77',NULL,0,0,NULL,NULL,NULL,0);
CREATE TABLE received_note (
	fax_id TEXT NOT NULL, 
	changed_by TEXT NOT NULL, 
	changed_at BIGINT NOT NULL, 
	note TEXT NOT NULL, 
	handled_by TEXT, 
	PRIMARY KEY (fax_id)
);
CREATE TABLE stopped_webhook (
	endpoint TEXT NOT NULL, 
	stopped_at BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	PRIMARY KEY (endpoint)
);
CREATE INDEX envelope_key ON envelope ("key", received_at);
CREATE INDEX envelope_user ON envelope (user, received_at);
CREATE INDEX envelope_path ON envelope (path);
CREATE INDEX fax_documents ON fax (final_at) WHERE documents_deleted_at IS NULL;
CREATE INDEX fax_number ON fax (number, final_at);
CREATE INDEX fax_code ON fax (lower(fax_code));
CREATE INDEX ix_fax_envelope_id ON fax (envelope_id);
CREATE INDEX fax_next ON fax (state, due_at);
CREATE INDEX fax_due ON fax (state, account, due_at);
CREATE INDEX fax_final ON fax (final_at);
CREATE INDEX fax_expires ON fax (state, expires_at);
CREATE INDEX event_document ON event (document) WHERE document IS NOT NULL;
CREATE INDEX ix_event_fax_id ON event (fax_id);
CREATE INDEX event_at ON event (at);
CREATE INDEX ix_delivery_event_id ON delivery (event_id);
CREATE INDEX delivery_due ON delivery (endpoint, state, due_at);
CREATE INDEX ix_audit_subject ON audit (subject);
CREATE INDEX ix_audit_number ON audit (number);
CREATE INDEX processed_mail_at ON processed_mail (at);
CREATE INDEX received_item_at ON received_item (account, kind, at);
CREATE UNIQUE INDEX received_item_listing ON received_item (account, kind, listing_id);
CREATE INDEX received_item_due ON received_item (account, kind, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX received_item_noted ON received_item (noted_at);
CREATE INDEX received_item_called ON received_item (account, called);
CREATE TRIGGER fax_count_insert AFTER INSERT ON fax BEGIN INSERT INTO counter VALUES ('fax', '', NEW.state, +1) ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n + 1; END;
CREATE TRIGGER fax_count_delete AFTER DELETE ON fax BEGIN INSERT INTO counter VALUES ('fax', '', OLD.state, -1) ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n - 1; END;
CREATE TRIGGER fax_count_state AFTER UPDATE OF state ON fax WHEN OLD.state <> NEW.state BEGIN INSERT INTO counter VALUES ('fax', '', OLD.state, -1) ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n - 1; INSERT INTO counter VALUES ('fax', '', NEW.state, +1) ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n + 1; END;
CREATE TRIGGER delivery_count_insert AFTER INSERT ON delivery BEGIN INSERT INTO counter VALUES ('delivery', NEW.endpoint, NEW.state, +1) ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n + 1; END;
CREATE TRIGGER delivery_count_delete AFTER DELETE ON delivery BEGIN INSERT INTO counter VALUES ('delivery', OLD.endpoint, OLD.state, -1) ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n - 1; END;
CREATE TRIGGER delivery_count_state AFTER UPDATE OF state ON delivery WHEN OLD.state <> NEW.state BEGIN INSERT INTO counter VALUES ('delivery', OLD.endpoint, OLD.state, -1) ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n - 1; INSERT INTO counter VALUES ('delivery', NEW.endpoint, NEW.state, +1) ON CONFLICT (kind, endpoint, state) DO UPDATE SET n = n + 1; END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE INDEX ix_delivery_try_delivery_id ON delivery_try (delivery_id);
CREATE INDEX delivery_listed ON delivery (endpoint, id);
CREATE INDEX delivery_undelivered ON delivery (endpoint, state, id) WHERE state <> 'delivered';
CREATE INDEX fax_calls ON fax (number, state) WHERE state IN ('uploading', 'submitted');
CREATE INDEX ix_former_token_fax_id ON former_token (fax_id);
CREATE INDEX fax_turn ON fax (account, coalesce("user", client, '-'), due_at) WHERE state = 'queued';
CREATE INDEX fax_same ON fax (same_key, created_at);
CREATE INDEX delivery_envelope ON delivery (envelope_id) WHERE envelope_id IS NOT NULL;
CREATE INDEX delivery_address ON delivery (address, settled_at) WHERE address IS NOT NULL;
CREATE INDEX ix_console_session_user ON console_session (user);
CREATE INDEX fax_credit ON fax (account, final_at) WHERE credit_left IS NOT NULL;
CREATE INDEX fax_open ON fax (id) WHERE coalesce(final_at, 0) = 0;
CREATE INDEX fax_delivered ON fax (id) WHERE coalesce(state, '') = 'delivered';
CREATE INDEX fax_not_delivered ON fax (id) WHERE coalesce(state, '') IN ('failed', 'cancelled');
CREATE INDEX fax_user ON fax (user, id) WHERE "user" IS NOT NULL;
CREATE INDEX event_received ON event (id) WHERE coalesce(type, '') IN ('fax.received', 'voicemail.received');
COMMIT;
