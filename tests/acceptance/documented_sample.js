async function uploadVideos(files) {
    const formData = new FormData();
    files.forEach(file => {
        formData.append('videos', file);
    });

    const response = await fetch('/api/upload/videos', {
        method: 'POST',
        body: formData
    });

    const result = await response.json();
    if (result.success) {
        // 开始轮询状态
        pollTaskStatus(result.task_id);
    }
}

async function pollTaskStatus(taskId) {
    const response = await fetch(`/api/task/status/${taskId}`);
    const result = await response.json();
    
    if (result.status === 'completed') {
        console.log('处理完成！');
    } else if (result.status === 'error') {
        console.log('处理失败:', result.message);
    } else {
        // 继续轮询
        setTimeout(() => pollTaskStatus(taskId), 2000);
    }
}
